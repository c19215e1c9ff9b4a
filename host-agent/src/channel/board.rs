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
use super::door::Door;
use super::in_use::InUse;
use super::turns::Turns;
use crate::audit::Quota;
use crate::domain::ChannelSpec;
use crate::list::names::Names;

/// Parts of long answers in a second, and at once; each takes 50 to 100 us.
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
    /// Whoever has it has its turn; it goes to the others in the order in which they came.
    parts: tokio::sync::Mutex<Bucket>,
    turns: Turns,
    names: Names,
}

impl Default for Shared {
    fn default() -> Self {
        let (places, in_use, shortage, turns, names) = Default::default();
        Self { places, in_use, shortage, turns, names, parts: Bucket::new(PARTS).into() }
    }
}

impl Board {
    /// The line in which all wait that ask much.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// What libvirt's files tell of, for all lists.
    pub(crate) fn names(&self) -> &Names {
        &self.0.names
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
    /// is left of the time is for short questions. They wait in line, and who gives up waiting has never been in it.
    pub(crate) async fn pace(&self) {
        let mut parts = self.0.parts.lock().await;
        let at = parts.ready_at();
        if at > Instant::now() {
            sleep_until(at).await;
        }
        parts.take();
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use futures_util::{FutureExt, poll};
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_for_its_part_of_a_list_keeps_nobody_waiting() {
        let board = Board::default();
        let all = || join_all((0..500).map(|_| board.pace().boxed()));
        let mut waiting = all();
        for _ in 0..100 {
            waiting = all(); // in the place of those before
            assert!(poll!(&mut waiting).is_pending());
            advance(Duration::from_millis(50)).await;
        }

        let begun = Instant::now();
        let honest = board.pace().map(|()| begun.elapsed());
        let (took, _) = tokio::join!(honest, waiting);

        assert!(took < Duration::from_millis(300), "{took:?}, as if more waited than do");
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_get_only_so_many_parts_and_in_the_order_in_which_they_came() {
        let (board, begun) = (Board::default(), Instant::now());

        let waits = (0..1000).map(|_| board.pace().map(|()| begun.elapsed()));
        let times = join_all(waits).await;

        assert!(times.is_sorted());
        assert_eq!(times[399], Duration::ZERO, "so many at once");
        let took = times[999];
        assert!((Duration::from_millis(290)..Duration::from_millis(320)).contains(&took), "{took:?}");
    }
}
