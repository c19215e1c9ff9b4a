//! The libvirt hook: tells the agent about every operation, and makes missing socket files before a start.
//!
//! In:  one call by libvirt: `DOMAIN OPERATION SUBOP EXTRA`, the domain XML on stdin.
//! Out: one note in the spool; in `prepare begin` also the socket files that libvirt insists on.
//!
//! Invariant: libvirt is never called (it would deadlock), nothing is printed (in `migrate` and `restore` the
//! output would replace the XML), and no failure reaches libvirt: the agent finds out by itself, a bit later.

#![forbid(unsafe_code)]

pub mod call;
pub mod directories;
pub mod domain_xml;
pub mod input;
pub mod owner;
pub mod placeholder;
pub mod spool;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long libvirt's XML is waited for, from the program's start: libvirt is promised 20 ms.
const INPUT: Duration = Duration::from_millis(8);

/// How long it is waited for before a start. Without it there is no telling which sockets the VM needs, and a missing one
/// fails the start; libvirt writes it at once, so this is for a libvirtd that is held up in between.
const INPUT_BEFORE_START: Duration = Duration::from_millis(80);

/// When the program ends although its work has not, from its start. Nothing but the XML is ever waited for, so
/// this is for a hung file system or a starved machine: there a late hook delays the start of a VM, while a
/// missing socket would fail it.
const DEADLINE: Duration = Duration::from_millis(100);

/// Where hook and agent meet: `/run/fence-vmchannel`, in tests what `FENCE_VMCHANNEL_RUNTIME_DIR` says
/// (libvirt hands no such variable to its hooks).
#[must_use]
pub fn runtime_dir() -> PathBuf {
    std::env::var_os("FENCE_VMCHANNEL_RUNTIME_DIR")
        .map_or_else(|| PathBuf::from("/run/fence-vmchannel"), PathBuf::from)
}

/// One call of the hook, start to end. Failures are dropped: nobody here could do anything about them.
pub fn serve(arguments: &[OsString], xml: impl AsFd, runtime: &Path, started: Instant) {
    let _ = directories::make(runtime, directories::PASSABLE);
    let _ = spool::stamp(runtime);
    let Some(call) = call::Call::from_arguments(arguments) else { return };

    let before_start = call.is_before_start();
    let input = input::read(xml, started + if before_start { INPUT_BEFORE_START } else { INPUT });
    let note = call.note(&input);
    if before_start {
        let wanted = domain_xml::wanted_sockets(&input.bytes, &runtime.join("guests"));
        let _ = placeholder::ensure(&wanted, runtime);
    }
    let _ = spool::write(runtime, &note);
}

/// Runs `work` on a thread and returns when it has ended, panicked, or 100 ms have passed since `started`.
pub fn within_deadline(started: Instant, work: impl FnOnce() + Send + 'static) {
    let (ending, ended) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new().spawn(move || {
        let _ending = ending; // dropped at the end, also by a panic
        work();
    });
    if thread.is_ok() {
        let _ = ended.recv_timeout(DEADLINE.saturating_sub(started.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::within_deadline;
    use std::time::{Duration, Instant};

    #[test]
    fn a_panic_in_the_work_is_the_end_of_the_work_only() {
        let started = Instant::now();

        within_deadline(started, || panic!("a bug of ours"));
    }

    #[test]
    fn work_without_end_is_left_behind_at_the_deadline() {
        let started = Instant::now();

        within_deadline(started, || {
            loop {
                std::thread::park();
            }
        });

        assert!(started.elapsed() < Duration::from_millis(500));
    }
}
