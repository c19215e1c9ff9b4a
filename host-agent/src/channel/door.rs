//! A channel's place on this host, whoever has its socket just now.
//!
//! In:  a channel of a domain. Out: its socket, and which file that is.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use uuid::Uuid;

use super::socket;
use crate::domain::{ChannelSpec, Owner};

/// A channel's place on this host.
#[derive(Debug)]
pub struct Door {
    /// Whose channel it is.
    pub domain: Uuid,
    /// Which one.
    pub spec: ChannelSpec,
    /// Told when the domain has changed.
    pub changed: Notify,
    /// The file of the socket that was made here last; 0 before the first.
    inode: AtomicU64,
}

impl Door {
    /// A channel of this domain, whose socket is not made yet.
    #[must_use]
    pub fn of(domain: Uuid, spec: ChannelSpec) -> Self {
        Self { domain, spec, changed: Notify::new(), inode: AtomicU64::new(0) }
    }

    /// Makes its socket.
    pub fn make_socket(&self, owner: Option<Owner>) -> io::Result<OwnedFd> {
        let (socket, inode) = socket::make(&self.spec.path, owner)?;
        self.inode.store(inode, Ordering::Relaxed);
        Ok(socket)
    }

    /// Removes the file of the socket that was made here last, unless another has its place by now.
    pub fn remove_socket(&self) -> io::Result<()> {
        let found = self.spec.path.symlink_metadata().ok().map(|found| found.ino());
        if found.is_some() && found == self.inode() { socket::remove(&self.spec.path) } else { Ok(()) }
    }

    /// The file of the socket that was made here last.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        Some(self.inode.load(Ordering::Relaxed)).filter(|inode| *inode != 0)
    }
}
