//! Opening a device once.
//!
//! In:  its path. Out: a [`Stream`], or that it is busy or the host away.
//!
//! Invariant: two of us never read from one serial port at a time: the kernel alone would let root do that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::UnixStream;
use tokio_serial::{ClearBuffer, SerialPort, SerialPortBuilderExt};

use super::opening::Attempt;
use super::stream::{Stream, watched};

/// The usual rate of a virtual machine's serial port; QEMU's socket behind it knows no rate.
const BAUD: u32 = 115_200;

/// The device, between two openings.
pub(super) struct Device {
    path: PathBuf,
    /// A virtio port whose host is away. It stays open, so that no other program takes it in the middle of an order.
    held: Option<File>,
    was_open: bool,
}

impl Device {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, held: None, was_open: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps what can serve again once the host is back.
    pub(super) fn keep(&mut self, stream: Stream) {
        self.held = stream.into_file();
    }

    pub(super) async fn open(&mut self) -> io::Result<Attempt<Stream>> {
        let opened = match self.held.take() {
            Some(file) => self.attach(file),
            None => self.open_anew().await,
        };
        self.was_open |= matches!(opened, Ok(Attempt::Open(_)));
        match opened {
            Err(error) if is_busy(&error) => Ok(Attempt::Busy),
            // A device that was there comes back, with the next channel or the next socket of the agent.
            Err(error) if self.was_open && !is_denied(&error) => Ok(Attempt::Away),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Attempt::Away),
            opened => opened,
        }
    }

    async fn open_anew(&mut self) -> io::Result<Attempt<Stream>> {
        let kind = fs::metadata(&self.path)?.file_type();
        if kind.is_socket() {
            return Ok(Attempt::Open(Stream::Socket(UnixStream::connect(&self.path).await?)));
        }
        if !kind.is_char_device() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&self.path)?;
        if file.is_terminal() { self.open_serial(file) } else { self.attach(file) }
    }

    fn open_serial(&self, file: File) -> io::Result<Attempt<Stream>> {
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        let path = self.path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let serial = tokio_serial::new(path, BAUD).open_native_async()?;
        serial.clear(ClearBuffer::Input)?; // what came before is stale; a short write cannot be
        Ok(Attempt::Open(Stream::Serial(serial, lock)))
    }

    /// A virtio port, if the host has its other end open.
    fn attach(&mut self, mut file: File) -> io::Result<Attempt<Stream>> {
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO)?;
        let [state] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !state.contains(PollFlags::POLLHUP) {
            return match watched(file) {
                Ok(file) => Ok(Attempt::Open(Stream::Virtio(file))),
                // epoll refuses what cannot be waited for, such as /dev/null
                Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {
                    Err(io::ErrorKind::InvalidInput.into())
                }
                Err(error) => Err(error),
            };
        }
        // A port that was unplugged hangs up forever; reading tells (and takes nothing).
        match file.read(&mut []) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => {
                self.held = Some(file);
                Ok(Attempt::Away)
            }
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    // a lock, or the backlog of a socket, says "would block"
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock)
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
