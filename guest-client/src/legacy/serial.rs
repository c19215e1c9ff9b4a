//! The serial dialect, over a port or over QEMU's forwarded address.
//!
//! In:  questions. Out: replies.
//!
//! Invariant: before anything else a list is asked for, and what comes before it answers nothing (replies bear no number).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fence_vmchannel_protocol::Target;
use fence_vmchannel_protocol::legacy::{Op, SerialRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::ear::{Dialect, Ear, Reply};
use super::error::LegacyError;
use crate::options::SerialParams;
use crate::port::{Event, Port, Ways};
use crate::trace::Trace;

/// A refused list may be an earlier question's answer: so long its own may still come.
const STALE: Duration = Duration::from_secs(1);

/// A line of the serial dialect, opened when it is needed.
pub(super) struct Serial {
    bytes: Bytes,
    ear: Ear,
    is_open: bool,
}

enum Bytes {
    Port(Box<Port>),
    Guestfwd { address: SocketAddr, stream: Option<TcpStream> },
}

impl Serial {
    pub(super) fn port(device: PathBuf, params: Option<SerialParams>, trace: Trace) -> Self {
        let port = Port::new(Ways { broker: None, device }, trace).set(params);
        Self::over(Bytes::Port(Box::new(port)))
    }

    pub(super) fn guestfwd(address: SocketAddr) -> Self {
        Self::over(Bytes::Guestfwd { address, stream: None })
    }

    fn over(bytes: Bytes) -> Self {
        Self { bytes, ear: Ear::new(Dialect::Serial), is_open: false }
    }

    pub(super) async fn list(&mut self, deadline: Instant) -> Result<Reply, LegacyError> {
        let mut last = self.ask(Op::List, None, deadline).await?;
        let patience = deadline.min(Instant::now() + STALE);
        while !matches!(last, Reply::List(_)) {
            match timeout_at(patience, self.hear(deadline)).await {
                Ok(reply) => last = reply?,
                Err(_silence) => break,
            }
        }
        Ok(last)
    }

    pub(super) async fn ask(
        &mut self,
        op: Op,
        target: Option<&Target>,
        deadline: Instant,
    ) -> Result<Reply, LegacyError> {
        let request = SerialRequest { op, target: target.cloned(), seqno: super::network::random()? };
        let request = request.encode()?;
        if !self.is_open {
            self.bytes.open(deadline).await?;
            self.is_open = true;
        }
        self.bytes.send(&request, deadline).await?;
        self.hear(deadline).await
    }

    async fn hear(&mut self, deadline: Instant) -> Result<Reply, LegacyError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(reply) = self.ear.reply() {
                return Ok(reply);
            }
            let count = self.bytes.receive(&mut buffer, deadline).await?;
            self.ear.hear(buffer.get(..count).unwrap_or_default());
        }
    }
}

impl Bytes {
    async fn open(&mut self, deadline: Instant) -> Result<(), LegacyError> {
        match self {
            Self::Port(port) => Ok(port.connect(deadline).await?),
            Self::Guestfwd { address, stream } => {
                let connected =
                    TcpStream::connect(*address).await.map_err(|source| unreachable(*address, source));
                *stream = Some(connected?);
                Ok(())
            }
        }
    }

    async fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), LegacyError> {
        match self {
            Self::Port(port) => match port.send(bytes, deadline).await? {
                Event::Bytes(_) | Event::Silence => Ok(()),
                Event::Away => Err(LegacyError::Away),
            },
            Self::Guestfwd { address, stream } => {
                let stream = stream.as_mut().ok_or(LegacyError::Away)?;
                stream.write_all(bytes).await.map_err(|source| unreachable(*address, source))
            }
        }
    }

    /// At least one byte; nothing until the deadline is no error here, the line knows it.
    async fn receive(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize, LegacyError> {
        let count = match self {
            Self::Port(port) => match port.receive(buffer, deadline).await? {
                Event::Bytes(count) => count,
                Event::Silence => return std::future::pending().await,
                Event::Away => 0,
            },
            Self::Guestfwd { address, stream } => {
                let stream = stream.as_mut().ok_or(LegacyError::Away)?;
                stream.read(buffer).await.map_err(|source| unreachable(*address, source))?
            }
        };
        if count == 0 { Err(LegacyError::Away) } else { Ok(count) }
    }
}

fn unreachable(address: SocketAddr, source: std::io::Error) -> LegacyError {
    LegacyError::Unreachable { place: address.to_string(), source }
}
