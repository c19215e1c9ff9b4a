//! A guest's QEMU process, held by a pidfd: the pid cannot be somebody else's while this is held.
//!
//! In:  a pid, while its process is known to live.
//! Out: whether and when it is gone; ways to hurt it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Doing, LabError, Result};
use crate::lab::freezer;

/// A running QEMU.
#[derive(Debug)]
pub struct Process {
    /// Its process id.
    pub pid: i32,
    held: OwnedFd,
    lab: PathBuf,
}

impl Process {
    pub(super) fn hold(pid: i32, lab: PathBuf) -> Result<Self> {
        let raw = Pid::from_raw(pid).ok_or(std::io::ErrorKind::InvalidInput);
        let held = pidfd_open(raw.doing("use 0 as a pid")?, PidfdFlags::empty());
        let held = held.doing(format!("hold the process {pid}"))?;
        Ok(Self { pid, held, lab })
    }

    /// Whether all its threads have exited.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.wait_until_gone(Duration::ZERO).is_ok()
    }

    /// Waits until all its threads have exited.
    ///
    /// # Errors
    /// When they have not, after `patience`.
    pub fn wait_until_gone(&self, patience: Duration) -> Result<()> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut end = [PollFd::new(self.held.as_fd(), PollFlags::POLLIN)];
        match poll(&mut end, timeout).doing(format!("wait for the end of {}", self.pid))? {
            0 => Err(LabError::TimedOut {
                waited: patience,
                awaited: format!("the end of process {}", self.pid),
                last_seen: "it lives".into(),
            }),
            _ => Ok(()),
        }
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    /// When it cannot be killed; that it is gone already is no error.
    pub fn kill(&self) -> Result<()> {
        match self.signal(Signal::KILL) {
            Err(_) if self.is_gone() => Ok(()), // it went just before
            signalled => signalled,
        }
    }

    /// Makes it hang (SIGSTOP): SIGTERM does nothing to it from now on, SIGKILL still does.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Self::stop`].
    ///
    /// # Errors
    /// When it is gone.
    pub fn cont(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Puts it into state D: not even SIGKILL ends it before [`Self::thaw`].
    ///
    /// # Errors
    /// When the machine has no cgroup v1 freezer.
    pub fn freeze(&self) -> Result<()> {
        freezer::freeze(&self.lab, self.pid)
    }

    /// Ends state D.
    ///
    /// # Errors
    /// When it was not frozen.
    pub fn thaw(&self) -> Result<()> {
        freezer::thaw(&self.lab, self.pid)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.held, signal).doing(format!("signal process {}", self.pid))
    }
}
