//! A stranger at a guest's door: a client of the agent's sockets that is no QEMU.
//!
//! In:  a guest's UUID.
//! Out: what the agent does with bytes and requests from the test's own process.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Decoder, Frame, Reply, Request, RequestId, encode_line};

use crate::error::{Doing, LabError, Result};
use crate::lab::Lab;

/// A connection to an agent's socket.
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl Peer {
    /// Connects to the socket that the agent made for the guest with this UUID.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(lab: &Lab, uuid: &str) -> Result<Self> {
        let socket = lab.path(&format!("/run/fence-vmchannel/guests/{uuid}.sock"));
        let stream = UnixStream::connect(&socket).doing(format!("connect to {}", socket.display()))?;
        Ok(Self::over(stream))
    }

    /// Speaks over any connected socket.
    #[must_use]
    pub fn over(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default(), unread: Vec::new() }
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// When the agent has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).doing("send to the agent")
    }

    /// Sends a request and waits for its final reply.
    ///
    /// # Errors
    /// When the agent closes the connection or does not answer in time.
    pub fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply> {
        self.say(request)?;
        let deadline = Instant::now() + patience;
        loop {
            let reply = self.hear(request.id, deadline)?;
            if reply.is_final() {
                return Ok(reply);
            }
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the agent has closed the connection.
    pub fn say(&mut self, request: &Request) -> Result<()> {
        let line = encode_line(request).map_err(std::io::Error::other);
        self.send(&line.doing("write a request")?)
    }

    /// The next reply to the request with this id, progress too. Replies to others are passed over.
    ///
    /// # Errors
    /// When the agent closes the connection or says nothing of it until `deadline`.
    pub fn hear(&mut self, id: RequestId, deadline: Instant) -> Result<Reply> {
        loop {
            let reply = self.next_reply(deadline)?;
            if reply.id == id {
                return Ok(reply);
            }
        }
    }

    /// Whether the agent closes the connection, whatever it says before, within `patience`.
    #[must_use]
    pub fn is_turned_away(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            match self.receive(deadline) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    fn next_reply(&mut self, deadline: Instant) -> Result<Reply> {
        loop {
            let mut input = self.unread.as_slice();
            let frame = self.decoder.push(&mut input);
            self.unread = input.to_vec();
            if let Some(Frame::Plain(json)) = frame {
                return Reply::parse(&json).map_err(std::io::Error::other).doing("read a reply");
            }
            if self.unread.is_empty() && self.receive(deadline).doing("wait for a reply")? == 0 {
                return Err(LabError::Ended {
                    who: "the agent's connection".into(),
                    awaited: "a reply".into(),
                    last_seen: "the end of the stream".into(),
                });
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> std::io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 4096];
        let length = self.stream.read(&mut chunk)?;
        self.unread.extend(chunk.iter().take(length));
        Ok(length)
    }
}
