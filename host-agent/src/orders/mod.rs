//! Orders under way: takes permits, begins or joins an order for each target, hands out verdicts.
//!
//! In:  a [`Permit`] and its request. Out: a [`Ticket`] that ends in exactly one verdict, or that verdict at once.
//!
//! Invariant: the arbiter decides under one lock, so acceptance is one sequence; an order goes on when its asker is gone.

mod carry;
mod find;
mod ticket;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fence_vmchannel_protocol::{Reason, Request, Verdict};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::arbiter::{Application, Arbiter, Decision, OrderNumber};
use crate::audit::{self, Quota};
use crate::hypervisor::Hypervisor;
use crate::inventory::Inventory;
use crate::policy::Permit;
use carry::View;
pub use ticket::Ticket;

/// A task for the daemon's JoinSet.
pub type Work = BoxFuture<'static, ()>;

/// How long orders may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Before a target that libvirt does not stop is killed by pidfd.
    pub kill_after: Duration,
    /// Before an order fails.
    pub give_up_after: Duration,
}

/// What became of a permit.
pub enum Taken {
    /// An order will answer.
    Ticket(Box<Ticket>),
    /// It is answered already.
    Verdict(Verdict),
}

/// All orders of this host.
pub struct Orders {
    hypervisor: Arc<dyn Hypervisor>,
    inventory: watch::Receiver<Arc<Inventory>>,
    patience: Patience,
    begun: Instant,
    work: mpsc::Sender<Work>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    arbiter: Arbiter,
    /// What each guest may still write into the log by orders that change nothing.
    quotas: HashMap<Uuid, Arc<Quota>>,
    running: HashMap<OrderNumber, watch::Receiver<View>>,
}

impl Orders {
    /// Orders on this hypervisor, each carried out as a task sent to `work`.
    #[must_use]
    pub fn new(
        hypervisor: Arc<dyn Hypervisor>,
        inventory: watch::Receiver<Arc<Inventory>>,
        patience: Patience,
        work: mpsc::Sender<Work>,
    ) -> Self {
        Self { hypervisor, inventory, patience, begun: Instant::now(), work, state: Mutex::default() }
    }

    /// Accepts a permitted request, in the order of these calls.
    pub fn accept(self: &Arc<Self>, permit: Permit, request: &Request) -> Taken {
        match self.take(permit, request) {
            Taken::Verdict(verdict) => {
                Taken::Verdict(Verdict { simulated: self.hypervisor.is_simulated(), ..verdict })
            }
            Taken::Ticket(ticket) => Taken::Ticket(ticket),
        }
    }

    fn take(self: &Arc<Self>, permit: Permit, request: &Request) -> Taken {
        let application = Application {
            asker: (permit.asker().uuid(), permit.asker().instance().id),
            request: request.id,
            target: permit.target(),
            power: permit.power(),
        };
        let Ok(slot) = self.work.try_reserve() else {
            return Taken::Verdict(Verdict::failed(Reason::Busy, "too many orders are open on this host"));
        };
        let mut state = self.lock();
        let decision = state.arbiter.accept(&application, self.begun.elapsed());
        let quota = state.quotas.entry(permit.asker().uuid()).or_default().clone();
        audit::accepted(&permit, request.id, &decision, &quota);
        match decision {
            Decision::Repeat(verdict) => Taken::Verdict(*verdict),
            Decision::Refuse(reason, why) => {
                Taken::Verdict(Verdict { detail: Some(why.into()), ..Verdict::refused(reason) })
            }
            Decision::Join(number) => match state.running.get(&number).cloned() {
                Some(view) => Taken::Ticket(Box::new(Ticket::new(self.clone(), &permit, request, view))),
                None => {
                    Taken::Verdict(Verdict::failed(Reason::Busy, "the order it would join is just ending"))
                }
            },
            Decision::Begin(number) => {
                let (sender, view) = watch::channel(View::default());
                state.running.insert(number, view.clone());
                let ticket = Ticket::new(self.clone(), &permit, request, view);
                let grace = self.patience.kill_after.min(request.timeout / 2);
                slot.send(Box::pin(carry::carry_out(self.clone(), number, permit, sender, grace)));
                Taken::Ticket(Box::new(ticket))
            }
        }
    }

    /// Forgets domains that are no more.
    pub fn retain(&self, now: &Inventory) {
        let mut state = self.lock();
        state.arbiter.retain(|uuid| now.get(uuid).is_some());
        state.quotas.retain(|uuid, _| now.get(*uuid).is_some());
    }

    /// What this guest may still write into the log.
    pub(crate) fn quota(&self, guest: Uuid) -> Arc<Quota> {
        self.lock().quotas.entry(guest).or_default().clone()
    }

    /// Whether any order is under way.
    #[must_use]
    pub fn are_open(&self) -> bool {
        !self.lock().running.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
