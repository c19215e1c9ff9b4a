//! The options of `fence_xvmd`, the daemon before fence_virtd.
//!
//! In:  its options as one text, as they stand in an init script. Out: [`Before`] and remarks.
//!
//! Invariant: it had no groups at all, so every guest could fence every other.

use super::before::{Before, Listener};
use super::fence_virt::uri;
use super::finding::{Kind, Remarks};
use super::network;

/// Options with a value: letter and the key that `fence_virt.conf` has for it.
const WITH_VALUE: [(char, &str); 8] = [
    ('i', "family"),
    ('a', "address"),
    ('p', "port"),
    ('I', "interface"),
    ('C', "auth"),
    ('c', "hash"),
    ('k', "key_file"),
    ('U', "uri"),
];

/// Options without one, and what has become of them.
const SWITCHES: [(char, &str); 6] = [
    ('f', "`fence-vmchanneld run` always stays in the foreground"),
    ('d', "FENCE_VMCHANNEL_LOG=debug in the agent's environment says more"),
    ('u', "machines may be named by name and by UUID"),
    ('X', "the agent reads no cluster.conf"),
    ('L', "the agent always acts on its own host only"),
    ('l', "the agent always acts on its own host only"),
];

/// Reads the options.
pub(super) fn read(options: &str, before: &mut Before, remarks: &mut Remarks) {
    let mut words = options.split_whitespace();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let Some(letters) =
            word.strip_prefix('-').filter(|letters| !letters.is_empty() && !word.starts_with("--"))
        else {
            // The daemon's own name, as in an init script.
            if !word.ends_with("fence_xvmd") {
                remarks.say(0, Kind::NotConverted, format!("{word:?} is no option of fence_xvmd"));
            }
            continue;
        };
        for (at, letter) in letters.char_indices() {
            if let Some((_, key)) = WITH_VALUE.iter().find(|(known, _)| *known == letter) {
                let attached = letters.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
                match attached.or_else(|| words.next()) {
                    Some(value) => settings.push((*key, unquoted(value), 0)),
                    None => remarks.say(0, Kind::NotConverted, format!("-{letter} has no value")),
                }
                break;
            }
            switch(letter, remarks);
        }
    }
    take(&settings, 0, before, remarks);
}

fn switch(letter: char, remarks: &mut Remarks) {
    match SWITCHES.iter().find(|(known, _)| *known == letter) {
        Some((_, text)) => remarks.say(0, Kind::NotNeeded, format!("-{letter}: {text}")),
        None => remarks.say(0, Kind::NotConverted, format!("-{letter} is no option of fence_xvmd")),
    }
}

/// The settings, from options or from the element `<fence_xvmd/>`.
pub(super) fn take(
    settings: &[network::Written<'_>],
    line: usize,
    before: &mut Before,
    remarks: &mut Remarks,
) {
    before.listener = Listener::Multicast;
    let (uris, network): (Vec<_>, Vec<_>) = settings.iter().copied().partition(|(key, _, _)| *key == "uri");
    for (_, text, at) in uris {
        uri(text, at, before, remarks);
    }
    network::judge(&network, line, before, remarks);
    remarks.say(line, Kind::Unsafe, "fence_xvmd has no groups: every guest could fence every other");
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}
