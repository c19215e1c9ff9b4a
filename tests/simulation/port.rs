//! The wire between a guest and the agent: bytes in memory.
//!
//! In:  what the guest writes. Out: to the agent a stream like a socket; each line that leaves the agent is judged by the
//! world in the very moment in which it leaves.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use fence_vmchannel_host_agent::channel::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::world::World;

/// One connection between a machine's QEMU and the agent.
#[derive(Default)]
pub(crate) struct Wire {
    /// What the guest wrote and the agent has not read.
    inwards: Vec<u8>,
    /// The beginning of a line that the agent has not written whole.
    line: Vec<u8>,
    /// QEMU or the agent is gone.
    pub(crate) closed: bool,
    /// The guest does not read.
    pub(crate) stuck: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wire {
    /// The guest writes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.inwards.extend_from_slice(bytes);
        self.wake();
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.wake();
    }

    pub(crate) fn unstick(&mut self) {
        self.stuck = false;
        self.wake();
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// The agent's end.
pub(crate) struct Port {
    pub(crate) world: Arc<World>,
    pub(crate) number: usize,
    pub(crate) wire: Arc<Mutex<Wire>>,
}

impl Connection for Port {
    fn is_read(&self) -> bool {
        true
    }
}

impl AsyncRead for Port {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.wire.lock().unwrap();
        if wire.inwards.is_empty() && !wire.closed {
            wire.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = wire.inwards.len().min(into.remaining());
        into.put_slice(&wire.inwards[..count]);
        wire.inwards.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Port {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let lines = {
            let mut wire = self.wire.lock().unwrap();
            if wire.closed {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if wire.stuck {
                wire.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            wire.line.extend_from_slice(bytes);
            let whole = wire.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            let rest = wire.line.split_off(whole);
            std::mem::replace(&mut wire.line, rest)
        };
        if !lines.is_empty() {
            self.world.lock().heard(self.number, &lines);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
