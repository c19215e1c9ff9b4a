//! Keeps the inventory true.
//!
//! In:  changes of the hypervisor, hints of the hooks, the clock. Out: a new [`Inventory`] snapshot for each difference.
//!
//! Invariant: a full listing at each connect, which is what the first one waits for, and every `reconcile-seconds`; a lost
//! event, note or answer heals by the next one. An older look never overwrites a newer one. One domain that libvirt is busy with
//! keeps no other from being known.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::Inventory;
use crate::domain::Domain;
use crate::hypervisor::{CallError, Change, Hypervisor};

/// What a hook note makes of itself.
#[derive(Debug)]
pub enum Hint {
    /// This domain is about to start; libvirt cannot be asked now.
    Starting(Box<Domain>),
    /// Something happened to this domain.
    Changed(Uuid),
    /// Its start has failed, or its run has ended.
    Released(Uuid),
    /// An order saw this domain leave for another host.
    Leaves(Uuid),
    /// Something happened.
    Anything,
}

/// How long a domain that a note announced is kept before libvirt must know it.
const ANNOUNCED: Duration = Duration::from_secs(60);
/// How soon a listing that failed is tried again, and how long the first one waits for the connection.
const RETRY: Duration = Duration::from_secs(1);
/// How long nothing is known without a listing: libvirt holds it back as long as it is busy with any domain.
const SLOW: Duration = Duration::from_secs(2);

enum Look {
    /// Those that have a process.
    Running(Vec<Uuid>),
    Everything {
        begun: u64,
        seen: Result<Vec<Domain>, CallError>,
    },
    One {
        uuid: Uuid,
        begun: u64,
        seen: Result<Domain, CallError>,
    },
}

enum Event {
    Changed(Change),
    Hinted(Hint),
    Looked(Look),
    Slow,
    Tick,
}

/// The task that keeps the inventory.
pub struct Census {
    hypervisor: Arc<dyn Hypervisor>,
    hints: mpsc::Receiver<Hint>,
    published: watch::Sender<Arc<Inventory>>,
    every: Duration,
    inventory: Inventory,
    /// When each domain was looked at on its own last, counted in looks.
    fresh: HashMap<Uuid, u64>,
    announced: HashMap<Uuid, Instant>,
    looks: u64,
    /// The number of the look that the last listing was.
    listed: u64,
    /// The listing that is under way.
    listing: Option<u64>,
    /// When it is waited for no longer, as long as there was none before.
    slow_at: Option<Instant>,
    list_again: bool,
    looking: BTreeSet<Uuid>,
    look_again: BTreeSet<Uuid>,
    next: Instant,
}

impl Census {
    /// A census of this hypervisor that publishes into `published`, and begins with what that holds.
    #[must_use]
    pub fn new(
        hypervisor: Arc<dyn Hypervisor>,
        hints: mpsc::Receiver<Hint>,
        published: watch::Sender<Arc<Inventory>>,
        every: Duration,
    ) -> Self {
        let inventory = Inventory::clone(&published.borrow());
        Self {
            hypervisor,
            hints,
            published,
            every,
            inventory,
            fresh: HashMap::new(),
            announced: HashMap::new(),
            looks: 0,
            listed: 0,
            listing: None,
            slow_at: None,
            list_again: false,
            looking: BTreeSet::new(),
            look_again: BTreeSet::new(),
            next: Instant::now() + RETRY,
        }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let hypervisor = self.hypervisor.clone();
        let mut looks: FuturesUnordered<BoxFuture<'_, Look>> = FuturesUnordered::new();
        loop {
            self.start_looks(&*hypervisor, &mut looks);
            let event = tokio::select! {
                biased; // the rarest first
                () = sleep_until(self.next) => Event::Tick,
                () = sleep_until(self.slow_at.unwrap_or(self.next)), if self.slow_at.is_some() => Event::Slow,
                Some(look) = looks.next() => Event::Looked(look),
                Some(hint) = self.hints.recv() => Event::Hinted(hint),
                change = hypervisor.changed() => Event::Changed(change),
            };
            match event {
                Event::Changed(Change::Domain(uuid)) | Event::Hinted(Hint::Changed(uuid)) => self.want(uuid),
                Event::Changed(Change::Leaves(uuid)) | Event::Hinted(Hint::Leaves(uuid)) => self.leaves(uuid),
                Event::Changed(Change::Everything) | Event::Hinted(Hint::Anything) | Event::Tick => {
                    self.want_all()
                }
                Event::Changed(Change::Lost) => tracing::warn!("libvirt is gone; waiting for it"),
                Event::Hinted(Hint::Starting(domain)) => self.announce(*domain),
                Event::Hinted(Hint::Released(uuid)) => {
                    self.announced.remove(&uuid);
                    self.want(uuid);
                }
                Event::Slow => {
                    self.slow_at = None;
                    looks.push(Box::pin(async { Look::Running(hypervisor.running().await) }));
                }
                Event::Looked(Look::Running(seen)) => self.take_running(seen),
                Event::Looked(Look::Everything { begun, seen }) => self.take_all(begun, seen),
                Event::Looked(Look::One { uuid, begun, seen }) => self.take_one(uuid, begun, seen),
            }
        }
    }

    fn want(&mut self, uuid: Uuid) {
        self.look_again.insert(uuid);
    }

    /// The last moments of a migration may be over before anybody looks; how it ended is then told by no state of libvirt's.
    fn leaves(&mut self, uuid: Uuid) {
        self.inventory.leaves(uuid);
        self.looks += 1;
        self.fresh.insert(uuid, self.looks);
        self.publish();
        self.want(uuid);
    }

    fn want_all(&mut self) {
        self.list_again = true;
        self.next = Instant::now() + self.every;
    }

    /// One look at a time for each domain, and one listing: what is wanted meanwhile is looked at once more after it.
    fn start_looks<'a>(&mut self, on: &'a dyn Hypervisor, looks: &mut FuturesUnordered<BoxFuture<'a, Look>>) {
        if self.list_again && self.listing.is_none() {
            self.looks += 1;
            let begun = self.looks;
            (self.listing, self.list_again) = (Some(begun), false);
            looks.push(Box::pin(async move { Look::Everything { begun, seen: on.domains().await } }));
            self.slow_at = (!self.inventory.complete).then(|| Instant::now() + SLOW);
        }
        let ready: Vec<Uuid> = self.look_again.difference(&self.looking).copied().collect();
        for uuid in ready {
            self.look_again.remove(&uuid);
            self.looking.insert(uuid);
            self.looks += 1;
            let begun = self.looks;
            looks.push(Box::pin(async move { Look::One { uuid, begun, seen: on.domain(uuid).await } }));
        }
    }

    fn take_running(&mut self, seen: Vec<Uuid>) {
        if self.listing.is_some() {
            tracing::warn!("libvirt has not listed its domains yet: those that run are looked at one by one");
            seen.into_iter().for_each(|uuid| self.want(uuid));
        }
    }

    fn take_one(&mut self, uuid: Uuid, begun: u64, seen: Result<Domain, CallError>) {
        self.looking.remove(&uuid);
        if begun < self.listed || self.fresh.get(&uuid).is_some_and(|at| begun < *at) {
            return self.want(uuid); // a listing that began later was faster, or it began to leave since
        }
        match seen {
            Ok(domain) => {
                self.announced.remove(&uuid);
                self.inventory.put(domain);
            }
            Err(CallError::NoDomain) if self.is_announced(uuid) => return,
            Err(CallError::NoDomain) => self.inventory.forget(uuid),
            Err(error) => {
                tracing::debug!(%uuid, %error, "a domain could not be looked at");
                self.next = self.next.min(Instant::now() + RETRY);
                return;
            }
        }
        self.looks += 1;
        self.fresh.insert(uuid, self.looks);
        self.publish();
    }

    fn take_all(&mut self, begun: u64, seen: Result<Vec<Domain>, CallError>) {
        (self.listing, self.slow_at) = (None, None);
        let domains = match seen {
            Ok(domains) => domains,
            Err(error) => {
                tracing::debug!(%error, "the domains could not be listed");
                self.next = self.next.min(Instant::now() + RETRY);
                return;
            }
        };
        let newer: HashSet<Uuid> =
            self.fresh.iter().filter(|(_, at)| **at > begun).map(|(uuid, _)| *uuid).collect();
        let listed: HashSet<Uuid> = domains.iter().map(|domain| domain.uuid).collect();
        let known: Vec<Uuid> = self.inventory.with_announced().map(|domain| domain.uuid).collect();
        for uuid in known {
            if !listed.contains(&uuid) && !newer.contains(&uuid) && !self.is_announced(uuid) {
                self.inventory.forget(uuid);
            }
        }
        for domain in domains.into_iter().filter(|domain| !newer.contains(&domain.uuid)) {
            self.announced.remove(&domain.uuid);
            self.inventory.put(domain);
        }
        self.fresh.retain(|_, at| *at > begun);
        self.listed = begun;
        self.inventory.complete = true;
        self.publish();
    }

    /// A domain that is about to start has its channels made before libvirt can be asked about it.
    fn announce(&mut self, domain: Domain) {
        self.announced.insert(domain.uuid, Instant::now() + ANNOUNCED);
        if self.inventory.get(domain.uuid).is_some() {
            self.want(domain.uuid);
        }
        self.inventory.announce(domain);
        self.publish();
    }

    fn is_announced(&self, uuid: Uuid) -> bool {
        self.announced.get(&uuid).is_some_and(|until| *until > Instant::now())
    }

    fn publish(&mut self) {
        self.announced.retain(|_, until| *until > Instant::now());
        let unchanged = {
            let last = self.published.borrow();
            last.complete == self.inventory.complete
                && last.elsewhere == self.inventory.elsewhere
                && last.announced == self.inventory.announced
                && Arc::ptr_eq(&last.names, &self.inventory.names)
                && last.domains.len() == self.inventory.domains.len()
                && self
                    .inventory
                    .iter()
                    .all(|domain| last.get(domain.uuid).is_some_and(|old| Arc::ptr_eq(old, domain)))
        };
        if !unchanged {
            self.published.send_replace(Arc::new(self.inventory.clone()));
        }
    }
}
