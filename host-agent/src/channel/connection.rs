//! What a channel goes over: a socket, or anything like one.
//!
//! In:  what was written to it. Out: whether the peer has taken all of that; why it ended.
//!
//! Invariant: where the kernel does not tell, something is not taken yet.

#![expect(unsafe_code, reason = "an ioctl that no crate binds")]

use std::ffi::c_int;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;

use nix::libc::TIOCOUTQ;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// A connection to a guest's QEMU.
pub trait Connection: AsyncRead + AsyncWrite + Unpin {
    /// Whether the peer has taken everything that was written.
    fn is_read(&self) -> bool;
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// QEMU closed it: the guest stopped, or libvirt did.
    #[error("closed by QEMU")]
    Closed,
    /// The guest does not read its replies.
    #[error("the guest does not read its replies")]
    NotReading,
    /// The kernel said no.
    #[error("{0}")]
    Broken(#[from] std::io::Error),
}

impl Ended {
    pub(super) fn of_read(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::ConnectionReset { Self::Closed } else { Self::Broken(error) }
    }
}

mod ioctl {
    nix::ioctl_read_bad!(unread, super::TIOCOUTQ, super::c_int);
}

impl Connection for UnixStream {
    fn is_read(&self) -> bool {
        let mut bytes: c_int = 0;
        // SAFETY: the descriptor is this socket's, and the kernel writes one int.
        let told = unsafe { ioctl::unread(self.as_raw_fd(), &raw mut bytes) };
        told.is_ok() && bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_unread_until_the_last_byte_of_it_is_read() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(ours.is_read());

        ours.write_all(b"abba").await.unwrap();
        assert!(!ours.is_read());
        theirs.read_exact(&mut [0; 3]).await.unwrap();
        assert!(!ours.is_read());
        theirs.read_exact(&mut [0; 1]).await.unwrap();

        assert!(ours.is_read());
    }
}
