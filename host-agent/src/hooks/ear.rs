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

/// An ear at a hook directory; a deaf one where nobody can listen.
pub(super) struct Ear(Option<Inotify>);

impl Ear {
    /// Listens from now on.
    pub(super) fn at(dir: &Path) -> Self {
        let listen = || {
            let inotify = Inotify::init()?;
            inotify.watches().add(dir, WatchMask::OPEN | WatchMask::ONLYDIR).map(|_| inotify)
        };
        Self(listen().ok())
    }

    /// Whether the directory was read, waiting at most this long. A deaf ear waits as well, and hears nothing.
    pub(super) fn hears(&self, within: Duration) -> bool {
        let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        let mut ears: Vec<PollFd> =
            self.0.iter().map(|ear| PollFd::new(ear.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut ears, timeout).is_ok_and(|ready| ready > 0)
    }
}
