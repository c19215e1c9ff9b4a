//! Ctrl-C: ends the lab, so that whatever the demo waits for ends, and the demo says so.
//!
//! In:  SIGINT, SIGTERM, SIGHUP. Out: SIGTERM to the lab's supervisor, which clears everything away.
//!
//! Invariant: what the demo starts for the lab does not inherit the blocked signals.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static SUPERVISOR: OnceLock<Pid> = OnceLock::new();

/// Whether somebody wants the demo to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// From here on the three signals end the lab instead of this process.
pub(crate) fn listen() -> nix::Result<()> {
    let signals = signals();
    signals.thread_block()?;
    thread::spawn(move || {
        while signals.wait().is_ok() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            end_the_lab();
        }
    });
    Ok(())
}

/// Names the process that ends the lab when it gets SIGTERM.
pub(crate) fn supervisor_is(pid: Pid) {
    SUPERVISOR.set(pid).ok();
    if interrupted() {
        end_the_lab();
    }
}

/// Runs `start`, whose children get their signals.
pub(crate) fn with_signals<T>(start: impl FnOnce() -> T) -> T {
    signals().thread_unblock().ok();
    let started = start();
    signals().thread_block().ok();
    started
}

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

fn end_the_lab() {
    if let Some(pid) = SUPERVISOR.get() {
        kill(*pid, Signal::SIGTERM).ok();
    }
}
