//! One guest's connection: bytes and deadlines.
//!
//! In:  a connected socket. Out: frames one by one; and lines back.
//!
//! Invariant: bounded memory and bounded work. At most one line and [`CHUNK`] bytes wait inwards and
//! [`OUT_BYTES`] outwards; a guest that asks more than it may is read later, not answered more; one that does not read its
//! replies loses its connection.

pub mod board;
mod bucket;
pub mod socket;
pub mod tend;

use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

use fence_vmchannel_protocol::{Decoder, Frame, Reply, encode_line};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until};

use bucket::Bucket;

/// Bytes taken from the socket at once.
pub const CHUNK: usize = 4096;
/// Bytes that wait for a guest that does not read.
pub const OUT_BYTES: usize = 64 * 1024;
/// Requests a guest may ask in a second, and at once.
pub const REQUESTS: (u32, u32) = (20, 40);
/// Reads of its socket in a second, and at once: one byte at a time costs us as little as whole lines.
pub const READS: (u32, u32) = (200, 2000);
/// How long replies may wait for a guest that does not read them.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

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

/// A connection to one guest.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    decoder: Decoder,
    inbox: Vec<u8>,
    taken: usize,
    outbox: Vec<u8>,
    stuck_since: Option<Instant>,
    requests: Bucket,
    reads: Bucket,
}

impl Channel {
    /// A channel on this connection.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
            inbox: Vec::new(),
            taken: 0,
            outbox: Vec::new(),
            stuck_since: None,
            requests: Bucket::new(REQUESTS),
            reads: Bucket::new(READS),
        }
    }

    /// The next frame; writes what waits meanwhile, and returns `None` when all of that is written and there is room for
    /// more. Cancel safe.
    pub async fn hear(&mut self) -> Result<Option<Frame>, Ended> {
        loop {
            if let Some(frame) = self.next_frame() {
                return Ok(Some(frame));
            }
            let may_read = self.requests.ready_at().max(self.reads.ready_at());
            let stuck = self.stuck_since.map(|since| since + WRITE_PATIENCE);
            tokio::select! {
                ready = self.stream.readable(), if may_read <= Instant::now() => {
                    ready?;
                    self.read()?;
                }
                () = sleep_until(may_read), if may_read > Instant::now() => {}
                ready = self.stream.writable(), if !self.outbox.is_empty() => {
                    ready?;
                    self.flush()?;
                    if self.has_room() {
                        return Ok(None);
                    }
                }
                () = sleep_until(stuck.unwrap_or(may_read)), if stuck.is_some() => return Err(Ended::NotReading),
            }
        }
    }

    /// Whether the guest reads its replies well enough to be sent more of a long answer.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Sends a reply, or keeps it until the guest reads.
    pub fn say(&mut self, reply: &Reply) -> Result<(), Ended> {
        match encode_line(reply) {
            Ok(line) => self.say_line(&line),
            Err(error) => {
                tracing::error!(%error, id = %reply.id, "a reply that cannot be written is our bug");
                Err(Ended::Broken(ErrorKind::InvalidData.into()))
            }
        }
    }

    /// Sends a line, or keeps it until the guest reads.
    pub fn say_line(&mut self, line: &[u8]) -> Result<(), Ended> {
        if self.outbox.len() + line.len() > OUT_BYTES {
            return Err(Ended::NotReading);
        }
        self.outbox.extend_from_slice(line);
        self.flush()
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if self.requests.ready_at() > Instant::now() {
            return None;
        }
        let mut rest = self.inbox.get(self.taken..).unwrap_or_default();
        let frame = self.decoder.push(&mut rest);
        self.taken = self.inbox.len() - rest.len();
        if rest.is_empty() {
            (self.inbox, self.taken) = (Vec::new(), 0);
        }
        if frame.is_some() {
            self.requests.take();
        }
        frame
    }

    fn read(&mut self) -> Result<(), Ended> {
        if !self.inbox.is_empty() {
            return Ok(()); // the rest of the last chunk comes first
        }
        let mut chunk = [0; CHUNK];
        match self.stream.try_read(&mut chunk) {
            Ok(0) => Err(Ended::Closed),
            Ok(count) => {
                self.reads.take();
                self.inbox.extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Ended::Closed),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self) -> Result<(), Ended> {
        while !self.outbox.is_empty() {
            match self.stream.try_write_vectored(&[IoSlice::new(&self.outbox)]) {
                Ok(count) => {
                    self.outbox.drain(..count);
                    self.stuck_since = None;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stuck_since.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Ended::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        self.outbox = Vec::new();
        self.stuck_since = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
