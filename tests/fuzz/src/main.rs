//! Runs one target under libFuzzer: `FUZZ_TARGET=lines fence-vmchannel-fuzz [libFuzzer's options] CORPUS`.
//!
//! Built and called by `tests/fuzz/run`.

#![no_main]

use std::sync::OnceLock;

use fence_vmchannel_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fn chosen() -> &'static Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.expect("FUZZ_TARGET names one of the targets in tests/fuzz/src/lib.rs")
}

fuzz_target!(|input: &[u8]| (CHOSEN.get_or_init(chosen).check)(input));
