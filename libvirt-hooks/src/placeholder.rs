//! Makes the socket files that libvirt insists on before it starts a domain.
//!
//! In:  the sockets that the domain wants in our `guests` directory.
//! Out: each of them exists, if need be as a file that nobody serves yet.
//!
//! Invariant: what exists is never touched. The agent puts its own socket in that place by rename, so that it is
//! never missing again. QEMU runs some 15 ms later at the soonest and tries again each second, so the hook does not
//! wait for the agent (and must not hold an inotify watch: the kernel takes up to 60 ms to close one).
//!
//! In `prepare` libvirt (9.0) has not put its DAC label into the XML yet, unless the administrator wrote one; it gives
//! the file to QEMU's user itself, between `prepare` and `start`.

use std::fs::Permissions;
use std::io::Result;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::directories::{self, PASSABLE};
use crate::domain_xml::Wanted;
use crate::owner::Owner;

/// Makes the missing ones of the wanted sockets, and their directory.
///
/// # Errors
/// The directory or the first of the missing sockets cannot be made; the others are tried all the same.
pub fn ensure(wanted: &Wanted, runtime: &Path) -> Result<()> {
    let missing: Vec<&PathBuf> =
        wanted.sockets.iter().filter(|socket| socket.symlink_metadata().is_err()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    directories::make(&runtime.join("guests"), PASSABLE)?;
    let owner = wanted.owner.or_else(|| Owner::from_passwd(&std::fs::read_to_string("/etc/passwd").ok()?));
    missing.into_iter().map(|socket| place(socket, owner)).fold(Ok(()), Result::and)
}

/// Binds a socket and closes it: the file stays. An agent that was faster keeps its own.
fn place(socket: &Path, owner: Option<Owner>) -> Result<()> {
    drop(UnixListener::bind(socket)?);
    std::fs::set_permissions(socket, Permissions::from_mode(0o660))?;
    let Some(Owner { uid, gid }) = owner else { return Ok(()) };
    chown(socket, Some(uid), Some(gid))
}
