//! Calls to libvirt that have a deadline, on connections that are kept for the next call.
//!
//! In:  a blocking operation on a connection. Out: its result, or that the deadline passed.
//!
//! Invariant: nobody waits longer than for a place and then for the deadline, and the threads that hang are bounded. libvirtd
//! serves 5 calls at a time for each connection, so each call has a connection of its own. Each lane has its own room: neither what
//! guests ask nor a slow stop keeps libvirt's word from an order.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use virt::connect::Connect;

use super::link::Link;
use super::turns::Turns;
use crate::hypervisor::CallError;

/// Lookups at the same time; a long list takes some of them.
const LOOKS: usize = 6;
/// Questions of orders at the same time.
const DECISIONS: usize = 8;
/// A deadline that is noticed so much later passed while this process was held up. How often it may be, at most.
pub(super) const HELD_UP: Duration = Duration::from_millis(100);
const HELD_UP_MOST: usize = 10;
/// Calls of one lane that hang after their deadline, before no more are begun. libvirtd's own threads are 20 by default.
const MAX_HUNG: usize = 8;

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// It only asks.
    Look,
    /// An order goes by what it brings.
    Decide,
    /// It changes a domain; it may take long.
    Act,
}

/// Runs blocking work on a bounded number of threads.
#[derive(Debug, Clone)]
pub(super) struct Threads(Arc<Semaphore>);

impl Threads {
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit)))
    }

    /// Waits for a free thread and for the work. When cancelled, work that has begun goes on and keeps its thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let permit = self.0.clone().acquire_owned().await.map_err(|_| stopping())?;
        let result = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        result
            .await
            .map_err(|_| CallError::Failed("a call of the agent itself went wrong: this is a bug".to_owned()))
    }

    fn are_exhausted(&self) -> bool {
        self.0.available_permits() == 0
    }
}

/// Where connections come from.
pub(super) enum Supply {
    /// Each call has its own.
    Uri(String),
    /// All use the keeper's: the state of an in-process driver is per connection.
    Keeper(Mutex<Option<Arc<Link>>>),
}

/// The connections and threads for operations.
pub(super) struct Pool {
    supply: Arc<Supply>,
    idle: Arc<Idle>,
    looks: Track,
    decisions: Track,
    acts: Track,
    turns: Turns,
}

/// The room of one lane.
struct Track {
    places: Semaphore,
    threads: Threads,
}

impl Track {
    fn new(size: usize) -> Self {
        Self { places: Semaphore::new(size), threads: Threads::new(size + MAX_HUNG) }
    }
}

struct Idle {
    links: Mutex<Vec<Arc<Link>>>,
    room: usize,
}

impl Pool {
    pub(super) fn new(supply: Supply, size: usize) -> Self {
        let size = size.max(1);
        Self {
            supply: Arc::new(supply),
            idle: Arc::new(Idle { links: Mutex::default(), room: size }),
            looks: Track::new(LOOKS),
            decisions: Track::new(DECISIONS),
            acts: Track::new(size),
            turns: Turns::default(),
        }
    }

    /// The keeper's connection came or went.
    pub(super) fn lend(&self, link: Option<&Arc<Link>>) {
        if let Supply::Keeper(lent) = &*self.supply {
            *lent.lock().unwrap_or_else(PoisonError::into_inner) = link.cloned();
        }
    }

    /// Runs the operation about a domain on a connection. After the deadline it may still take effect. Where it does not come to
    /// its turn because others about the same domain hang, libvirt is silent about this domain; [`CallError::Busy`] says nothing of
    /// libvirt.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        (lane, about): (Lane, Uuid),
        deadline: Duration,
        operation: impl FnOnce(&Connect) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let track = match lane {
            Lane::Look => &self.looks,
            Lane::Decide => &self.decisions,
            Lane::Act => &self.acts,
        };
        let turn = in_our_time(deadline, self.turns.take((about, lane))).await;
        let turn = turn.ok_or(CallError::Deadline(deadline))?.map_err(|_| stopping())?;
        let place = in_our_time(deadline, track.places.acquire()).await.ok_or(CallError::Busy)?;
        let _place = place.map_err(|_| stopping())?;
        if track.threads.are_exhausted() {
            return Err(CallError::Busy);
        }
        let (supply, idle) = (self.supply.clone(), self.idle.clone());
        let interest = Arc::new(()); // of whoever waits here
        let wanted = Arc::downgrade(&interest);
        let on_a_link = move || {
            let _turn = turn; // kept as long as the call hangs
            let link = idle.take().map_or_else(|| supply.link(), Ok)?;
            if wanted.strong_count() == 0 {
                return Err(stopping()); // opening it took too long: what was wanted then may be wrong by now
            }
            let result = operation(link.connect());
            idle.put(link);
            result
        };
        in_our_time(deadline, track.threads.run(on_a_link))
            .await
            .unwrap_or(Ok(Err(CallError::Deadline(deadline))))?
    }
}

/// Waits so long for it, in time that this process had: of what passed while it was held up an answer may lie there unread.
async fn in_our_time<T>(mut span: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..HELD_UP_MOST {
        let begun = Instant::now();
        match timeout(span, &mut work).await {
            Ok(done) => return Some(done),
            Err(_) if begun.elapsed() <= span + HELD_UP => return None,
            Err(_) => span = 2 * HELD_UP,
        }
    }
    None
}

fn stopping() -> CallError {
    CallError::Failed("stopping".to_owned())
}

impl Supply {
    fn link(&self) -> Result<Arc<Link>, CallError> {
        match self {
            Self::Uri(uri) => Link::open(uri).map(Arc::new),
            Self::Keeper(lent) => lent
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
                .ok_or_else(|| CallError::Unreachable("not connected yet".to_owned())),
        }
    }
}

impl Idle {
    /// A kept connection that still stands.
    fn take(&self) -> Option<Arc<Link>> {
        loop {
            let link = self.links.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if link.is_alive() {
                return Some(link);
            }
        }
    }

    /// Keeps the connection for the next call, if it stands and nobody else has it.
    fn put(&self, link: Arc<Link>) {
        if Arc::strong_count(&link) > 1 || !link.is_alive() {
            return;
        }
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() < self.room {
            links.push(link);
        }
    }
}
