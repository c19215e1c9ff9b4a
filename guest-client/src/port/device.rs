//! Opening a device once.
//!
//! In:  its path. Out: a [`Stream`], or that it is busy or the host away.
//!
//! Invariant: two of us never read from one port at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::UnixStream;
use tokio_serial::{ClearBuffer, DataBits, SerialPort, SerialPortBuilderExt, StopBits};

use super::opening::Attempt;
use super::stream::{Stream, watched};
use crate::options::{Parity, SerialParams};

/// The device, between two openings.
pub(super) struct Device {
    path: PathBuf,
    /// A virtio port whose host is away. It stays open, so that no other program takes it in the middle of an order.
    held: Option<File>,
    was_open: bool,
    params: SerialParams,
}

impl Device {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, held: None, was_open: false, params: SerialParams::default() }
    }

    pub(super) fn set(&mut self, params: Option<SerialParams>) {
        self.params = params.unwrap_or_default();
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the port is open, waiting for its host.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
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
        if file.is_terminal() { self.open_serial() } else { self.attach(file) }
    }

    /// The serial crate locks the port by flock, so that even two programs of root do not read each other's bytes.
    fn open_serial(&self) -> io::Result<Attempt<Stream>> {
        let path = self.path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let params = &self.params;
        let builder = tokio_serial::new(path, params.speed)
            .data_bits(match params.data_bits {
                5 => DataBits::Five,
                6 => DataBits::Six,
                7 => DataBits::Seven,
                _ => DataBits::Eight,
            })
            .stop_bits(if params.stop_bits == 2 { StopBits::Two } else { StopBits::One })
            .parity(match params.parity {
                Parity::None => tokio_serial::Parity::None,
                Parity::Odd => tokio_serial::Parity::Odd,
                Parity::Even => tokio_serial::Parity::Even,
            });
        let serial = match builder.open_native_async() {
            // It was there a moment ago: that is how the crate calls a locked one.
            Err(error) if error.kind == tokio_serial::ErrorKind::NoDevice => return Ok(Attempt::Busy),
            serial => serial?,
        };
        serial.clear(ClearBuffer::Input)?; // whatever came before our request is stale
        Ok(Attempt::Open(Stream::Serial(serial)))
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

pub(super) fn is_busy(error: &io::Error) -> bool {
    // the full backlog of a socket says "would block"
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock)
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream as Pair;

    fn open(device: &mut Device) -> io::Result<Attempt<Stream>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(device.open())
    }

    #[test]
    fn a_port_whose_host_is_away_is_held_open() {
        let (guest, host) = Pair::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        let mut device = Device::new("/dev/none".into());
        device.held = Some(File::from(OwnedFd::from(guest)));
        drop(host);

        assert!(matches!(open(&mut device), Ok(Attempt::Away)));
        assert!(device.held.is_some());
    }

    #[test]
    fn a_device_that_was_never_there_is_an_error_and_one_that_vanished_is_away() {
        let mut device = Device::new("/dev/none".into());

        assert!(open(&mut device).is_err());
        device.was_open = true;
        assert!(matches!(open(&mut device), Ok(Attempt::Away)));
    }
}
