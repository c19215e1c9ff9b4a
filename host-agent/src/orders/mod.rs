//! Orders under way: takes permits, begins or joins an order for each target, hands out verdicts.
//!
//! In:  a [`Permit`] and its request. Out: a [`Ticket`] that ends in exactly one verdict, or that verdict at once.
//!
//! Invariant: the arbiter decides under one lock, so acceptance is one sequence; an order goes on when its asker is gone.

mod again;
mod begin;
mod carry;
mod clock;
mod confirm;
mod errand;
mod find;
mod open;
mod pulse;
mod resume;
mod ticket;
mod witness;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fence_vmchannel_protocol::limits::STOP_TIMEOUT_MIN;
use fence_vmchannel_protocol::{Power, Reason, Request, Target, Verdict};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::arbiter::{Application, Arbiter, Decision, OrderNumber};
use crate::audit::{self, Quota};
use crate::hypervisor::Hypervisor;
use crate::inventory::{Hint, Inventory};
use crate::journal::{Asked, Journal};
use crate::policy::Permit;
use carry::carry_out;
pub use clock::Clock;
use errand::Errand;
use open::View;
use pulse::Pulse;
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
    hints: mpsc::Sender<Hint>,
    patience: Patience,
    clock: Clock,
    work: mpsc::Sender<Work>,
    pulse: Pulse,
    state: Mutex<State>,
}

struct State {
    arbiter: Arbiter,
    journal: Journal,
    /// What each guest may still write into the log by orders that change nothing.
    quotas: HashMap<Uuid, Arc<Quota>>,
    running: HashMap<OrderNumber, Running>,
}

/// An order that is carried out.
struct Running {
    view: watch::Receiver<View>,
    target: Uuid,
    /// Who asked for it, and when first.
    asked: BTreeMap<Asked, Instant>,
    /// How long the most patient of its askers waits, since the host's boot.
    until: Duration,
    /// When somebody joined it last.
    joined: Option<Instant>,
}

/// Whether an order to stop its target could find that nobody waits for it any more before it has begun. It would keep its place until
/// then, and all others that want the target stopped from getting one, over and over.
pub(crate) fn is_hasty(permit: &Permit, request: &Request) -> bool {
    permit.power() != Power::On && request.timeout < STOP_TIMEOUT_MIN
}

const HASTY: &str = "nothing was done: less than 6 s were left for it, and libvirt may take so long to tell how the target runs; give the \
                     client a timeout of at least 10 s";

impl Orders {
    /// Orders on this hypervisor, each carried out as a task sent to `work`. Those that the journal tells of as open go on;
    /// their end is heard by who asks again.
    #[must_use]
    pub fn new(
        hypervisor: Arc<dyn Hypervisor>,
        (inventory, hints): (watch::Receiver<Arc<Inventory>>, mpsc::Sender<Hint>),
        patience: Patience,
        work: mpsc::Sender<Work>,
        (journal, clock): (Journal, impl Into<Clock>),
    ) -> Arc<Self> {
        let (arbiter, quotas, running) = (Arbiter::default(), HashMap::new(), HashMap::new());
        let state = Mutex::new(State { arbiter, journal, quotas, running });
        let (clock, pulse) = (clock.into(), Pulse::default());
        let orders = Arc::new(Self { hypervisor, inventory, hints, patience, clock, work, pulse, state });
        resume::all(&orders);
        orders
    }

    /// Notices when the agent is held up, and writes what the journal lacks as soon as that can be. Never returns; belongs into
    /// the daemon's JoinSet.
    pub async fn keep_the_pulse(&self) {
        loop {
            self.pulse.beat().await;
            self.lock().journal.catch_up();
        }
    }

    /// Whether what is read now may be of any age, see [`Pulse`].
    pub(crate) fn were_held_up(&self) -> bool {
        self.pulse.was_held_up()
    }

    /// The time since the host's boot.
    fn now(&self) -> Duration {
        self.clock.now()
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
        let until = self.now() + request.timeout;
        let application = Application {
            asker: (permit.asker().uuid(), permit.asker().instance()),
            request: request.id,
            target: permit.target(),
            power: permit.power(),
            until,
        };
        let Ok(slot) = self.work.try_reserve() else {
            return Taken::Verdict(Verdict::failed(Reason::Busy, "too many orders are open on this host"));
        };
        let (mut state, now) = (self.lock(), self.now());
        let is_new = !state.arbiter.knows(&application, now);
        if self.pulse.was_held_up() && is_new {
            let why = "the agent was held up and cannot tell how old this request is: ask again";
            return Taken::Verdict(Verdict::failed(Reason::Busy, why));
        }
        let decision = if is_new && is_hasty(&permit, request) {
            Decision::Refuse(Reason::Timeout, HASTY)
        } else {
            state.arbiter.accept(&application, now)
        };
        let quota = state.quotas.entry(permit.asker().uuid()).or_default().clone();
        audit::accepted(&permit, request.id, &decision, &quota);
        match decision {
            Decision::Repeat(verdict) => Taken::Verdict(*verdict),
            Decision::Refuse(reason, why) => {
                Taken::Verdict(Verdict { detail: Some(why.into()), ..Verdict::refused(reason) })
            }
            Decision::Join(number) => match state.running.get_mut(&number) {
                Some(running) => {
                    let asked = application.asked();
                    running.until = running.until.max(until);
                    if is_new {
                        running.joined = Some(Instant::now());
                        running.asked.insert(asked, Instant::now());
                    }
                    let ticket = Ticket::new(self.clone(), asked.guest, request, (number, running));
                    state.journal.joined(number, asked, until);
                    Taken::Ticket(Box::new(ticket))
                }
                None => {
                    Taken::Verdict(Verdict::failed(Reason::Busy, "the order it would join is just ending"))
                }
            },
            Decision::Begin(number) => {
                let (sender, view) = watch::channel(View::default());
                let target = permit.target();
                let asked = BTreeMap::from([(application.asked(), Instant::now())]);
                let running = Running { view, target, asked, until, joined: None };
                let ticket = Ticket::new(self.clone(), permit.asker().uuid(), request, (number, &running));
                state.running.insert(number, running);
                let grace = self.patience.kill_after.min(request.timeout / 2);
                let errand = Errand::new(number, permit, now, grace, self.patience.give_up_after);
                slot.send(Box::pin(carry_out(self.clone(), errand, sender)));
                Taken::Ticket(Box::new(ticket))
            }
        }
    }

    /// The answer to a request that was accepted before, whatever became of its target and of the rules since.
    #[must_use]
    pub fn asked_before(self: &Arc<Self>, guest: Uuid, power: Power, request: &Request) -> Option<Taken> {
        let now = self.inventory.borrow().clone();
        // A name that nobody has any more, or that two have, means the one that was asked about then.
        let is_target = |uuid: Uuid| match request.ask.target() {
            Some(Target::Uuid(asked)) => *asked == uuid,
            Some(Target::Name(name)) => match now.find(&Target::Name(name.clone())) {
                Some(domain) => domain.uuid == uuid,
                None => now.get(uuid).is_none_or(|domain| domain.name == *name),
            },
            None => false,
        };
        let state = self.lock();
        match state.arbiter.before(&Asked { guest, request: request.id }, power, is_target)? {
            Decision::Repeat(verdict) => Some(Taken::Verdict(*verdict)),
            Decision::Join(number) => {
                let running = state.running.get(&number)?;
                Some(Taken::Ticket(Box::new(Ticket::new(self.clone(), guest, request, (number, running)))))
            }
            Decision::Begin(_) | Decision::Refuse(..) => None,
        }
    }

    /// Forgets domains that are no more, and remembers beyond the agent's end which are elsewhere.
    pub fn retain(&self, now: &Inventory) {
        let mut state = self.lock();
        state.journal.are_elsewhere(now.elsewhere());
        if !now.is_complete() {
            return; // libvirt has not told yet which there are
        }
        state.arbiter.retain(|uuid| now.get(uuid).is_some(), self.clock.now());
        state.journal.retain(|uuid| now.get(uuid).is_some());
        state.quotas.retain(|uuid, quota| now.get(*uuid).is_some() || quota.is_drawn_on());
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

    /// Waits until neither an order nor a call of before can start this domain any more.
    async fn nothing_starts(&self, target: Uuid) {
        loop {
            let under_way = {
                let state = self.lock();
                let number = state.arbiter.start_under_way(target);
                number.and_then(|number| state.running.get(&number)).map(|running| running.view.clone())
            };
            let Some(mut view) = under_way else { break };
            if view.wait_for(|view| view.outcome.is_some()).await.is_err() {
                break; // its task is gone
            }
        }
        self.hypervisor.no_start_is_under_way(target).await;
    }

    /// When somebody joined this order last.
    fn joined(&self, number: OrderNumber) -> Option<Instant> {
        self.lock().running.get(&number).and_then(|running| running.joined)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
