//! Calls to libvirt that have a deadline, on connections that are kept for the next call.
//!
//! In:  a blocking operation on a connection. Out: its result, or that the deadline passed.
//!
//! Invariant: a caller never waits past its deadline, and the threads that hang are bounded. libvirtd serves 5 calls at a
//! time for each connection, so each call has a connection of its own; lookups have room that slow stops cannot take.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use virt::connect::Connect;

use super::link::Link;
use crate::hypervisor::CallError;

/// Lookups at the same time; a long list takes some of them.
const LOOKS: usize = 6;
/// Calls that hang after their deadline, before no more are begun.
const MAX_HUNG: usize = 32;

/// What a call is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lane {
    /// It only asks.
    Look,
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
        let permit =
            self.0.clone().acquire_owned().await.map_err(|_| CallError::Failed("stopping".to_owned()))?;
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
    looks: Semaphore,
    acts: Semaphore,
    threads: Threads,
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
            looks: Semaphore::new(LOOKS),
            acts: Semaphore::new(size),
            threads: Threads::new(size + LOOKS + MAX_HUNG),
        }
    }

    /// The keeper's connection came or went.
    pub(super) fn lend(&self, link: Option<&Arc<Link>>) {
        if let Supply::Keeper(lent) = &*self.supply {
            *lent.lock().unwrap_or_else(PoisonError::into_inner) = link.cloned();
        }
    }

    /// Runs the operation on a connection. After the deadline it may still take effect.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        lane: Lane,
        deadline: Duration,
        operation: impl FnOnce(&Connect) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        if self.threads.are_exhausted() {
            return Err(CallError::Busy);
        }
        match tokio::time::timeout(deadline, self.run(lane, operation)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Deadline(deadline)),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        operation: impl FnOnce(&Connect) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let lane = match lane {
            Lane::Look => &self.looks,
            Lane::Act => &self.acts,
        };
        let _slot = lane.acquire().await.map_err(|_| CallError::Failed("stopping".to_owned()))?;
        let (supply, idle) = (self.supply.clone(), self.idle.clone());
        let on_a_link = move || {
            let link = idle.take().map_or_else(|| supply.link(), Ok)?;
            let result = operation(link.connect());
            idle.put(link);
            result
        };
        self.threads.run(on_a_link).await?
    }
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
