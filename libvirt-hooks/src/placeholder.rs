//! Makes the socket files that libvirt insists on before it starts a domain.
//!
//! In:  the sockets that the domain wants in our `guests` directory.
//! Out: each of them exists, as an empty file at first; the agent gets a moment to put its own in that place.
//!
//! Invariant: what exists is never touched. The agent comes by rename, so at no time a socket is missing again;
//! when it comes later, QEMU connects again within a second.

use std::fs::Permissions;
use std::io::Result;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::directories::{self, PASSABLE};
use crate::domain_xml::Wanted;
use crate::input::is_readable;
use crate::owner::Owner;

/// Makes the missing ones of the wanted sockets, and waits until the agent has replaced them or `until`.
///
/// # Errors
/// The directory or a socket cannot be made.
pub fn ensure(wanted: &Wanted, runtime: &Path, until: Instant) -> Result<()> {
    if wanted.sockets.iter().all(|socket| inode(socket).is_some()) {
        return Ok(());
    }
    let guests = runtime.join("guests");
    directories::make(&guests, PASSABLE)?;
    let watch = watch(&guests); // before the files, so that no answer is missed

    let owner = wanted.owner.or_else(|| Owner::from_passwd(&std::fs::read_to_string("/etc/passwd").ok()?));
    let mut empty = Vec::new();
    for socket in &wanted.sockets {
        if inode(socket).is_none() && place(socket, owner).is_ok() {
            empty.push((socket, inode(socket)));
        }
    }
    let watch = watch?;
    while empty.iter().any(|(socket, ours)| inode(socket) == *ours) && is_readable(&watch, until) {
        watch.read_events()?;
    }
    Ok(())
}

fn watch(guests: &Path) -> Result<Inotify> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    watch.add_watch(guests, AddWatchFlags::IN_MOVED_TO)?;
    Ok(watch)
}

fn inode(socket: &Path) -> Option<u64> {
    socket.symlink_metadata().ok().map(|found| found.ino())
}

/// Binds a socket and closes it: the file stays. An agent that was faster keeps its own.
fn place(socket: &Path, owner: Option<Owner>) -> Result<()> {
    drop(UnixListener::bind(socket)?);
    std::fs::set_permissions(socket, Permissions::from_mode(0o660))?;
    let Some(Owner { uid, gid }) = owner else { return Ok(()) };
    chown(socket, Some(uid), Some(gid))
}
