//! Hears that libvirt looks for hooks.
//!
//! In:  the directory that libvirt reads when it looks. Out: whether it did, in time.
//!
//! Invariant: SIGHUP is answered later and by nobody; only the look itself tells that the hook is noticed from now on.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use inotify::{Inotify, WatchMask};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// An ear at a hook directory.
pub(super) struct Ear(Inotify);

impl Ear {
    /// Listens from now on; `None` where that cannot be.
    pub(super) fn at(dir: &Path) -> Option<Self> {
        let inotify = Inotify::init().ok()?;
        inotify.watches().add(dir, WatchMask::OPEN | WatchMask::ONLYDIR).ok()?;
        Some(Self(inotify))
    }

    /// Whether the directory was read, waiting at most this long.
    pub(super) fn hears(&self, within: Duration) -> bool {
        let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout).is_ok_and(|ready| ready > 0)
    }
}
