//! An open port: virtio, serial or socket.
//!
//! In:  bytes to write. Out: bytes read, or [`Lost`].
//!
//! Invariant: a host that is away is told as [`Lost::Away`] and never waited for in a spin.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_serial::SerialStream;

/// Why an open port is of no use any more.
#[derive(Debug)]
pub(super) enum Lost {
    /// The host went away; it may come back.
    Away,
    /// It cannot be used at all.
    Broken(io::Error),
}

/// An open port.
pub(super) enum Stream {
    Virtio(AsyncFd<File>),
    Serial(SerialStream),
    Socket(UnixStream),
}

impl Stream {
    /// The file of a port that serves again when its host is back.
    pub(super) fn into_file(self) -> Option<File> {
        match self {
            Self::Virtio(file) => Some(file.into_inner()),
            Self::Serial(_) | Self::Socket(_) => None,
        }
    }

    /// At least one byte.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Lost> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = poll_fn(|cx| self.poll_write(cx, rest)).await?;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes some of `out`, if there is any, or reads some bytes, whichever can be done first. Cancel safe.
    pub(super) async fn move_some(&mut self, out: &[u8], buffer: &mut [u8]) -> Result<Moved, Lost> {
        poll_fn(|cx| {
            if !out.is_empty()
                && let Poll::Ready(written) = self.poll_write(cx, out)
            {
                return Poll::Ready(written.map(Moved::Out));
            }
            self.poll_read(cx, buffer).map(|read| read.map(Moved::In))
        })
        .await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &[u8]) -> Poll<Result<usize, Lost>> {
        let written = match self {
            Self::Virtio(file) => loop {
                let guard = ready!(file.poll_write_ready(cx)).map_err(Lost::Broken)?;
                if let Some(done) = try_once(guard, |mut file| file.write(out))? {
                    break Poll::Ready(Ok(done));
                }
            },
            Self::Serial(serial) => Pin::new(serial).poll_write(cx, out),
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, out),
        };
        written.map(some)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Lost>> {
        let mut into = ReadBuf::new(buffer);
        let read = match self {
            Self::Virtio(file) => loop {
                let guard = ready!(file.poll_read_ready(cx)).map_err(Lost::Broken)?;
                if let Some(done) = try_once(guard, |mut file| file.read(into.initialize_unfilled()))? {
                    return Poll::Ready(some(Ok(done)));
                }
            },
            Self::Serial(serial) => Pin::new(serial).poll_read(cx, &mut into),
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, &mut into),
        };
        read.map(|read| some(read.map(|()| into.filled().len())))
    }
}

/// What an open port did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// It took so many bytes.
    Out(usize),
    /// So many bytes came.
    In(usize),
}

/// Nothing at all: the other end is closed.
fn some(moved: io::Result<usize>) -> Result<usize, Lost> {
    match moved.map_err(sort)? {
        0 => Err(Lost::Away),
        count => Ok(count),
    }
}

/// Does it if the port is ready; `None` if it was not after all, and is to be waited for.
fn try_once<T>(
    mut guard: AsyncFdReadyGuard<'_, File>,
    work: impl FnOnce(&File) -> io::Result<T>,
) -> Result<Option<T>, Lost> {
    let hung_up = guard.ready().is_read_closed() || guard.ready().is_write_closed();
    match guard.try_io(|file| work(file.get_ref())) {
        Ok(result) => result.map(Some).map_err(sort),
        // A hang-up that was seen once stays set in the runtime's books: register the file anew.
        Err(_would_block) if hung_up => Err(Lost::Away),
        Err(_would_block) => Ok(None),
    }
}

/// The file, watched by the runtime.
#[expect(
    deprecated,
    reason = "its successor is unsafe; a File or an Inotify keeps its descriptor for its whole life"
)]
pub(super) fn watched<T: AsRawFd>(file: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(file)
}

/// The host's end closed, the port unplugged: it may come back.
fn sort(error: io::Error) -> Lost {
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::EIO | Errno::EPIPE | Errno::ECONNRESET | Errno::ENODEV | Errno::ENXIO) => Lost::Away,
        _ => Lost::Broken(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream as Pair;
    use std::time::Duration;

    use tokio::time::timeout;

    /// A stream such as a virtio port is one, by a socket pair; and the host's end.
    fn stream() -> (Stream, Pair) {
        let (guest, host) = Pair::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        (Stream::Virtio(watched(File::from(OwnedFd::from(guest))).unwrap()), host)
    }

    fn in_a_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn bytes_go_both_ways() {
        in_a_runtime(async {
            let (mut stream, mut host) = stream();
            let mut buffer = [0; 16];

            stream.write_all(b"to the host").await.unwrap();
            host.read_exact(&mut buffer[..11]).unwrap();
            host.write_all(b"back").unwrap();

            assert_eq!(stream.read(&mut buffer).await.unwrap(), 4);
            assert_eq!(&buffer[..4], b"back");
        });
    }

    #[test]
    fn a_host_that_closes_is_away() {
        in_a_runtime(async {
            let (mut stream, host) = stream();
            drop(host);

            assert!(matches!(stream.read(&mut [0; 16]).await, Err(Lost::Away)));
            assert!(matches!(stream.write_all(b"x").await, Err(Lost::Away)));
        });
    }

    #[test]
    fn a_host_that_does_not_read_is_waited_for_without_spinning() {
        in_a_runtime(async {
            let (mut stream, _host) = stream();
            let much = vec![0; 16 << 20];

            assert!(timeout(Duration::from_millis(50), stream.write_all(&much)).await.is_err());
        });
    }
}
