//! Many guests at once: hostile ones beside honest ones, a lack of descriptors, ten thousand channels. The agent is the real
//! program and libvirtd is real; a hostile guest is a process that the agent takes for its QEMU.
//!
//! How many there are is `FENCE_CROWD` (60 in `make check`, 500 in `make endurance`), how long each attack lasts
//! `FENCE_CROWD_SECONDS`. The figures are printed; what is asserted of times is generous, for machines that are busy.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what a test cannot set up fails it; figures are printed"
)]

mod crowd;
mod figures;
mod hostile;
mod many;
mod shortage;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// These tests take the whole machine: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
