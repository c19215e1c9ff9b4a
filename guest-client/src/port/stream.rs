//! An open port: virtio, serial or socket.
//!
//! In:  bytes to write. Out: bytes read, or [`Lost`].
//!
//! Invariant: a host that is away is told as [`Lost::Away`] and never waited for in a spin.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
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
        let count = match self {
            Self::Virtio(file) => ready(file, Interest::READABLE, |mut file| file.read(buffer)).await,
            Self::Serial(serial) => AsyncReadExt::read(serial, buffer).await.map_err(sort),
            Self::Socket(socket) => socket.read(buffer).await.map_err(sort),
        }?;
        if count == 0 { Err(Lost::Away) } else { Ok(count) }
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        match self {
            Self::Virtio(file) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let count = ready(file, Interest::WRITABLE, |mut file| file.write(rest)).await?;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Ok(())
            }
            Self::Serial(serial) => AsyncWriteExt::write_all(serial, bytes).await.map_err(sort),
            Self::Socket(socket) => socket.write_all(bytes).await.map_err(sort),
        }
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

/// Does it as soon as the port is ready.
async fn ready<T>(
    file: &AsyncFd<File>,
    interest: Interest,
    mut work: impl FnMut(&File) -> io::Result<T>,
) -> Result<T, Lost> {
    loop {
        let mut guard = file.ready(interest).await.map_err(Lost::Broken)?;
        let hung_up = guard.ready().is_read_closed() || guard.ready().is_write_closed();
        match guard.try_io(|file| work(file.get_ref())) {
            Ok(result) => return result.map_err(sort),
            // A hang-up that was seen once stays set in the runtime's books: register the file anew.
            Err(_would_block) if hung_up => return Err(Lost::Away),
            Err(_would_block) => {}
        }
    }
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
