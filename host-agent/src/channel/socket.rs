//! The sockets of channels: making ours, reaching QEMU's, knowing the peer.
//!
//! In:  paths and owners. Out: listeners and connections with the peer's pid.
//!
//! Invariant: a socket of ours appears under its name complete, with its owner and mode, by one rename; nobody but its
//! owner can connect.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::task::{Poll, ready};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket,
    sockopt::PeerCredentials,
};
use nix::unistd::{Gid, Uid, chown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::domain::Owner;

/// Connections that wait to be taken, QEMU needs one: who fills the queue is through it soon, and holds nobody up for long.
const BACKLOG: i32 = 16;

/// The process at the other end, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its pid.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// Who is at the other end of this connection (`SO_PEERCRED`, unix(7)).
pub fn peer(stream: &impl AsFd) -> io::Result<Peer> {
    let credentials = getsockopt(&stream.as_fd(), PeerCredentials)?;
    Ok(Peer { pid: credentials.pid(), uid: credentials.uid() })
}

/// Makes a socket that listens at `path` for the owner only, in place of whatever was there. Its file outlives it: a VM whose
/// socket's file is missing does not start, also while the agent is being restarted. [`remove`] takes it away. Also tells the
/// file's inode.
pub fn make(path: &Path, owner: Option<Owner>) -> io::Result<(OwnedFd, u64)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}"));
    remove(&unfinished)?;
    let socket = listening(&unfinished)?;
    let finish = || {
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
        if let Some(owner) = owner {
            chown(&unfinished, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
        }
        let inode = fs::symlink_metadata(&unfinished)?.ino();
        fs::rename(&unfinished, path).map(|()| inode)
    };
    let inode = finish().inspect_err(|_| drop(remove(&unfinished)))?;
    Ok((socket, inode))
}

/// A listening socket of ours whose connections a task waits for.
#[derive(Debug)]
pub struct Listener(AsyncFd<UnixListener>);

impl Listener {
    /// A new socket, see [`make`].
    pub fn open(path: &Path, owner: Option<Owner>) -> io::Result<Self> {
        Self::at(make(path, owner)?.0)
    }

    /// Waits at a socket that [`make`] made.
    #[expect(deprecated, reason = "sound with a listener of std; its successor is unsafe")]
    pub fn at(socket: OwnedFd) -> io::Result<Self> {
        AsyncFd::with_interest(socket.into(), Interest::READABLE).map(Self)
    }

    /// The socket, at which no task waits any more.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.0.into_inner().into()
    }

    /// Waits until somebody knocks, who is let in by [`Listener::accept`] only. Cancel safe; for one task only, which is woken.
    pub async fn knocked(&self) -> io::Result<()> {
        poll_fn(|context| {
            loop {
                let mut ready = ready!(self.0.poll_read_ready(context))?;
                if is(PollFlags::POLLIN, &self.0) {
                    return Poll::Ready(Ok(()));
                }
                ready.clear_ready();
            }
        })
        .await
    }

    /// The next connection and its peer. Cancel safe; for one task only, which is woken.
    pub async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        self.knocked().await?;
        let (stream, _) = self.0.get_ref().accept()?;
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        let peer = peer(&stream)?;
        Ok((stream, peer))
    }
}

fn listening(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}

/// Whether the other end has closed this connection already.
pub fn is_hung_up(stream: &UnixStream) -> bool {
    is(PollFlags::POLLHUP, stream)
}

/// Whether a socket is so now.
fn is(so: PollFlags, socket: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), so)];
    poll(&mut fds, PollTimeout::ZERO).is_ok() && fds.iter().all(|fd| fd.any() == Some(true))
}

/// Gives a socket's file to the domain's user, if it is not its own: libvirt does that at the start of a VM, but may have
/// done it to the file that was there before. One that somebody removed is made anew when it is missed.
pub fn give(path: &Path, owner: Owner) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if (found.uid(), found.gid()) != (owner.uid, owner.gid) {
        chown(path, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    Ok(())
}

/// Removes a socket's file; one that is not there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
