//! How each channel is, for the operator.
//!
//! In:  what the channels' tasks say. Out: the state of one channel; and what they share.
//!
//! Invariant: a channel where nobody is connected, which most are, costs nothing here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::bucket::Bucket;
use super::in_use::InUse;
use super::tend::Door;
use super::turns::Turns;
use crate::audit::Quota;
use crate::domain::ChannelSpec;

/// Parts of long answers in a second, and at once; each takes some 50 us.
const PARTS: (u32, u32) = (2000, 400);

/// How a channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// Nobody is connected.
    Waiting,
    /// The guest is served.
    Served,
    /// QEMU serves another program on this socket.
    Occupied,
    /// It cannot be served.
    Failed(String),
}

impl std::fmt::Display for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting"),
            Self::Served => f.write_str("served"),
            Self::Occupied => f.write_str("occupied"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// The channels of each domain that are not just waiting.
type Places = HashMap<Uuid, Vec<(Arc<Door>, Served)>>;

/// How all channels are.
#[derive(Debug, Default, Clone)]
pub struct Board(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Mutex<Places>,
    in_use: InUse,
    shortage: Quota,
    parts: Mutex<Bucket>,
    turns: Turns,
}

impl Default for Shared {
    fn default() -> Self {
        let (places, in_use, shortage, turns) = Default::default();
        Self { places, in_use, shortage, turns, parts: Mutex::new(Bucket::new(PARTS)) }
    }
}

impl Board {
    /// The line in which all wait that ask much.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// How this channel is.
    #[must_use]
    pub fn of(&self, domain: Uuid, spec: &ChannelSpec) -> Served {
        let places = self.lock();
        let mut of_domain = places.get(&domain).into_iter().flatten();
        let found = of_domain.find(|(door, _)| door.spec == *spec);
        found.map_or(Served::Waiting, |(_, served)| served.clone())
    }

    /// A place on the board, taken off when it is dropped.
    #[must_use]
    pub(super) fn place(&self, door: Arc<Door>) -> Place {
        Place { board: self.clone(), door }
    }

    /// Which sockets of the host somebody uses.
    pub(super) fn in_use(&self) -> &InUse {
        &self.0.in_use
    }

    /// What may be logged about a lack of descriptors, which is one lack for all sockets.
    pub(crate) fn shortage(&self) -> &Quota {
        &self.0.shortage
    }

    /// Waits until one more small part of something long may be done: all guests together may do so many of them, and what
    /// is left of the time is for short questions. Who waits holds nobody else up, also if it is never heard of again.
    pub(crate) async fn pace(&self) {
        let at = {
            let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
            let at = parts.ready_at();
            parts.take();
            at
        };
        if at > Instant::now() {
            sleep_until(at).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One channel's place on the board.
#[derive(Debug)]
pub(super) struct Place {
    board: Board,
    door: Arc<Door>,
}

impl Place {
    /// Says how the channel is; `true` if that is new.
    pub(super) fn set(&self, served: Served) -> bool {
        let mut places = self.board.lock();
        let of_domain = places.entry(self.door.domain).or_default();
        let found = of_domain.iter().position(|(door, _)| Arc::ptr_eq(door, &self.door));
        let old = found.map(|at| of_domain.swap_remove(at).1).unwrap_or(Served::Waiting);
        let is_new = old != served;
        if served != Served::Waiting {
            of_domain.push((self.door.clone(), served));
        }
        if of_domain.is_empty() {
            places.remove(&self.door.domain);
        }
        is_new
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.set(Served::Waiting);
    }
}
