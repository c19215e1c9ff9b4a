//! Where sockets of ours wait together while nobody is connected.
//!
//! In:  listening sockets and whose they are. Out: those at which somebody knocked.
//!
//! Invariant: a socket that waits costs neither a task nor a registration with the runtime. Nobody is overlooked: the
//! kernel tells of a socket for as long as somebody is in its queue, however long before it came here. A socket that
//! was told of is taken out by who hears of it, so nothing is told over and over.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::door::Door;

/// So many that knocked are heard of at a time.
const AT_ONCE: usize = 64;

/// A place in the lobby. No two sockets ever have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seat(u64);

/// The sockets at which nobody is.
#[derive(Debug)]
pub struct Lobby {
    epoll: AsyncFd<OwnedFd>,
    seated: HashMap<Seat, (Arc<Door>, OwnedFd)>,
    last: u64,
}

impl Lobby {
    /// An empty one; needs a runtime.
    #[expect(deprecated, reason = "sound with an OwnedFd; its successor is unsafe")]
    pub fn open() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let epoll = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        Ok(Self { epoll, seated: HashMap::new(), last: 0 })
    }

    /// A listening socket waits from now on. Gives it back if the kernel has no room for it.
    pub fn enter(&mut self, door: Arc<Door>, socket: OwnedFd) -> Result<Seat, OwnedFd> {
        self.last += 1;
        match epoll::add(&self.epoll, &socket, EventData::new_u64(self.last), EventFlags::IN) {
            Ok(()) => {
                self.seated.insert(Seat(self.last), (door, socket));
                Ok(Seat(self.last))
            }
            Err(error) => {
                tracing::debug!(%error, "a socket waits on its own");
                Err(socket)
            }
        }
    }

    /// Takes a socket out, whether somebody knocked or not; `None` if it left before.
    pub fn leave(&mut self, seat: Seat) -> Option<(Arc<Door>, OwnedFd)> {
        let (door, socket) = self.seated.remove(&seat)?;
        // It was put in when it came, and closing it would take it out as well.
        let _ = epoll::delete(&self.epoll, &socket);
        Some((door, socket))
    }

    /// Waits until somebody knocks. Cancel safe: who is not let in is told of again.
    pub async fn knocked(&self) -> Vec<Seat> {
        loop {
            // Only a runtime that ends has no answer.
            let Ok(mut ready) = self.epoll.readable().await else { return pending().await };
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let mut events = Vec::with_capacity(AT_ONCE);
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&now)) {
                Ok(0) => ready.clear_ready(),
                Ok(_) => return events.iter().map(|event| Seat(event.data.u64())).collect(),
                Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the kernel does not tell who knocks");
                    ready.clear_ready();
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "lobby_tests.rs"]
mod tests;
