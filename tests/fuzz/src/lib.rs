//! What must hold for every decoder and any input.
//!
//! In:  bytes: from libFuzzer (`src/main.rs`) or from the corpus (`tests/corpus.rs`).
//! Out: nothing, or a panic that says which property does not hold.
//!
//! Invariant: a target's judgement is made from the input alone, so that a file replays it anywhere. Nothing here uses the
//! decoder under test to judge the decoder under test.

mod oracle;
mod targets;

/// A decoder with its properties.
#[derive(Debug)]
pub struct Target {
    /// Its name; also that of its directory below `corpus/`.
    pub name: &'static str,
    /// Panics if a property does not hold for this input.
    pub check: fn(&[u8]),
}

/// Every decoder that reads what somebody else wrote.
pub const TARGETS: &[Target] = &[
    Target { name: "lines", check: targets::lines::check },
    Target { name: "requests", check: targets::requests::check },
    Target { name: "replies", check: targets::replies::check },
    Target { name: "signing", check: targets::signing::check },
    Target { name: "notes", check: targets::notes::check },
    Target { name: "domain-xml", check: targets::domain_xml::check },
    Target { name: "hook-xml", check: targets::hook_xml::check },
    Target { name: "policy", check: targets::policy::check },
    Target { name: "settings", check: targets::settings::check },
    Target { name: "journal", check: targets::journal::check },
];
