//! The guest's end of the channel.
//!
//! In:  a device's path, bytes to send. Out: bytes from the host, or that the host is away.
//!
//! Invariant: no wait here is longer than its deadline, and none of them spins.
//!
//! Where a broker shares the port among programs ([`crate::broker`]), it is asked, and the port only while there is none.

mod device;
mod find;
mod opening;
mod shared;
mod stream;

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use tokio::time::{Instant, sleep, timeout_at};

use crate::options::SerialParams;
use crate::trace::Trace;
use device::Device;
pub(crate) use find::BROKER;
pub use find::{Places, find};
use opening::Attempt;
use shared::Listener;
pub(crate) use shared::Ways;
use stream::{Lost, Moved, Stream};

/// Why there is no talking to the host.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The guest has no channel.
    #[error(
        "no channel found: ask the host's administrator to run \
         `fence-vmchanneld channel add --cluster NAME THIS-VM`, which says whether this VM must be stopped and started \
         (for a serial port give --device /dev/ttyS1)"
    )]
    NotFound,
    /// The named device does not exist.
    #[error("there is no {}: check --device, or leave it out to have the channel found", .device.display())]
    Missing {
        /// The device.
        device: PathBuf,
    },
    /// The device is a file, a directory, or the like.
    #[error("{} is no channel: it must be a virtio port, a serial port or a socket", .device.display())]
    NotAChannel {
        /// The device.
        device: PathBuf,
    },
    /// This user may not open the device.
    #[error("{} may not be opened: run as root, or as a member of the group that owns it", .device.display())]
    Denied {
        /// The device.
        device: PathBuf,
    },
    /// The broker ended, and this user may not open the device.
    #[error(
        "the broker at {} is gone, and {} may not be opened by this user: \
         see that fence-vmchannel-broker runs (systemctl status fence-vmchannel-broker), then try again",
        .broker.display(), .device.display()
    )]
    BrokerGone {
        /// Where it was.
        broker: PathBuf,
        /// The device.
        device: PathBuf,
    },
    /// Nobody serves the broker's socket, and there is no port.
    #[error(
        "the broker at {} is gone, and this user sees no port: \
         see that fence-vmchannel-broker runs (systemctl status fence-vmchannel-broker), then try again",
        .broker.display()
    )]
    OnlyBrokerGone {
        /// Where it was.
        broker: PathBuf,
    },
    /// Somebody else listens in the broker's place.
    #[error(
        "user {owner} listens at {}, who is neither root nor this user: not believed; \
         end that program and start fence-vmchannel-broker as root",
        .broker.display()
    )]
    BrokerOfAnother {
        /// Where.
        broker: PathBuf,
        /// The user who listens.
        owner: u32,
    },
    /// Another program has the port open.
    #[error("{} is in use by {holder}; end that program or wait for it, then try again", .device.display())]
    Busy {
        /// The device.
        device: PathBuf,
        /// The program, as far as it can be seen.
        holder: String,
    },
    /// The host does not have its end open.
    #[error(
        "the host's agent is not connected to {}: ask the host's administrator to see that fence-vmchanneld runs \
         (`fence-vmchanneld guests` shows whom it serves)",
        .device.display()
    )]
    HostAway {
        /// The device.
        device: PathBuf,
    },
    /// Anything else that the kernel says.
    #[error("cannot use {}", .device.display())]
    Device {
        /// The device.
        device: PathBuf,
        /// The kernel's word.
        #[source]
        source: std::io::Error,
    },
}

/// What came of waiting for the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// So many bytes were read.
    Bytes(usize),
    /// The host went away, or was away in between.
    Away,
    /// Nothing, until the time was over.
    Silence,
}

/// The guest's end of the channel, opened when it is needed.
pub(crate) struct Port {
    broker: Option<PathBuf>,
    device: Device,
    stream: Option<Stream>,
    is_shared: bool,
    trace: Trace,
}

impl Port {
    pub(crate) fn new(ways: Ways, trace: Trace) -> Self {
        let Ways { broker, device } = ways;
        Self { broker, device: Device::new(device), stream: None, is_shared: false, trace }
    }

    /// With other settings of a serial port than the usual ones.
    pub(crate) fn set(mut self, params: Option<SerialParams>) -> Self {
        self.device.set(params);
        self
    }

    /// The broker's socket or the device, whichever is in use.
    pub(crate) fn path(&self) -> &Path {
        match &self.broker {
            Some(broker) if self.is_shared => broker,
            Some(_) | None => self.device.path(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Opens the port, or a connection to the broker; waits while another program has it or the host is away.
    pub(crate) async fn connect(&mut self, deadline: Instant) -> Result<(), PortError> {
        let (broker, device, was_shared) = (self.broker.as_deref(), &mut self.device, self.is_shared);
        let path = device.path().to_owned();
        if broker == Some(&path) {
            let stream = shared::connect_to_nothing_else(&path, was_shared, deadline, self.trace).await?;
            (self.stream, self.is_shared) = (Some(stream), true);
            return Ok(());
        }
        let mut is_denied = false;
        let attempt = async || {
            // A port that this program holds keeps the broker out: it is given back only by the end of this program.
            if let Some(broker) = broker.filter(|_| !device.is_held())
                && let Ok(Listener::Ours(stream)) = shared::connect(broker).await
            {
                return Ok(Attempt::Open((stream, true)));
            }
            let attempt = match device.open().await {
                // Who was served by a broker waits for the next one.
                Err(error) if was_shared && error.kind() == ErrorKind::PermissionDenied => {
                    is_denied = true;
                    Attempt::Away
                }
                attempt => attempt?,
            };
            Ok(attempt.map(|stream| (stream, false)))
        };
        let opened = opening::open_when_free(&path, deadline, self.trace, attempt).await;
        match (opened, broker) {
            (Ok((stream, is_shared)), _) => {
                (self.stream, self.is_shared) = (Some(stream), is_shared);
                Ok(())
            }
            (Err(PortError::HostAway { device }), Some(broker)) if is_denied => {
                Err(PortError::BrokerGone { broker: broker.to_owned(), device })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Writes some of `out`, if there is any, or reads some bytes into `buffer`. Cancel safe.
    pub(crate) async fn exchange(
        &mut self,
        out: &mut Vec<u8>,
        buffer: &mut [u8],
    ) -> Result<Event, PortError> {
        let Some(stream) = &mut self.stream else { return Ok(Event::Away) };
        match stream.move_some(out, buffer).await {
            Ok(Moved::Out(count)) => {
                out.drain(..count.min(out.len()));
                Ok(Event::Silence)
            }
            Ok(Moved::In(count)) => Ok(Event::Bytes(count)),
            Err(lost) => self.settle::<()>(Ok(Err(lost))),
        }
    }

    /// Opens the port again after the host went away, not faster than the host can come back.
    pub(crate) async fn reconnect(&mut self, deadline: Instant) -> Result<(), PortError> {
        sleep(opening::HOST_LOOK).await;
        self.connect(deadline).await
    }

    /// Sends all the bytes; [`Event::Bytes`] with their number if the port took them.
    pub(crate) async fn send(&mut self, bytes: &[u8], until: Instant) -> Result<Event, PortError> {
        let Some(stream) = &mut self.stream else { return Ok(Event::Away) };
        let sent = timeout_at(until, stream.write_all(bytes)).await.map(|sent| sent.map(|()| bytes.len()));
        self.settle(sent)
    }

    /// Waits for bytes.
    pub(crate) async fn receive(&mut self, buffer: &mut [u8], until: Instant) -> Result<Event, PortError> {
        let Some(stream) = &mut self.stream else { return Ok(Event::Away) };
        let received = timeout_at(until, stream.read(buffer)).await;
        self.settle(received)
    }

    fn settle<T>(&mut self, result: Result<Result<usize, Lost>, T>) -> Result<Event, PortError> {
        match result {
            Err(_) => Ok(Event::Silence),
            Ok(Ok(count)) => Ok(Event::Bytes(count)),
            Ok(Err(Lost::Away)) => {
                if let Some(stream) = self.stream.take() {
                    self.device.keep(stream);
                }
                Ok(Event::Away)
            }
            Ok(Err(Lost::Broken(source))) => {
                self.stream = None;
                let device = self.path().to_owned();
                Err(PortError::Device { device, source })
            }
        }
    }
}

/// Whether there is a channel to use; it is not opened, since another program may be using it.
///
/// # Errors
/// Why there is none.
pub fn validate(named: Option<&Path>, places: &Places) -> Result<(), PortError> {
    let Ways { device, .. } = Ways::find(named, places)?;
    match std::fs::metadata(&device).map(|about| about.file_type()) {
        Ok(kind) if kind.is_char_device() || kind.is_socket() => Ok(()),
        Ok(_) => Err(PortError::NotAChannel { device }),
        Err(source) => Err(PortError::Device { device, source }),
    }
}
