//! Carries out one order: takes the state machine's steps and brings it what happened.
//!
//! In:  a permit. Out: the order's [`View`], at last with its outcome.
//!
//! Invariant: no step is waited for beyond the order's deadline; a [`Proof`] is taken from the very instance that was to be
//! stopped.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::Reason;
use futures_util::future::{BoxFuture, join};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Orders;
use super::begin::{RETRY_START, START_PATIENCE};
use super::errand::Errand;
use super::find::{SECOND_LOOK_WITHIN, UNCLEAR_PATIENCE, ask_for_job, find, is_unsettled, runs_again};
use super::open::{OpenOrder, View};
use crate::audit::Ended;
use crate::domain::{Domain, Instance, InstanceId, Standing};
use crate::hypervisor::{CallError, Recipe, WORD_IS_GOOD_FOR};
use crate::order::{Event, Found, Order, Outcome, Proof, Step};
use crate::policy::Permit;

/// What a step brought: an event, and the instance that was found.
pub(super) type Brought = (Event, Option<Instance>);
type Steps = FuturesUnordered<BoxFuture<'static, Brought>>;

pub(super) struct Carrier {
    pub(super) orders: Arc<Orders>,
    pub(super) errand: Errand,
    pub(super) domain: Option<Arc<Domain>>,
    pub(super) instance: Option<Instance>,
    /// The instance whose end is awaited already, and was not told of yet.
    watched: Option<InstanceId>,
    pub(super) recipe: watch::Sender<Option<Recipe>>,
    /// libvirt's call to stop it: a start must not overtake it.
    pub(super) call: watch::Sender<Call>,
    /// When what is known of it was looked for.
    pub(super) looked: watch::Sender<Instant>,
    /// When libvirt was asked what the target does, the last time.
    pub(super) asked: watch::Sender<Instant>,
    /// When it was seen to leave for another host.
    pub(super) left: watch::Sender<Option<Instant>>,
    /// A look is to wait for starts that are under way.
    pub(super) is_to_wait: bool,
    /// libvirt said no to a start: it changed nothing.
    pub(super) denied: watch::Sender<bool>,
    /// What was proven to those that had asked before this moment, when somebody else had joined since.
    pub(super) earlier: Option<(Instant, Outcome)>,
}

/// libvirt's call to stop a target.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    None,
    UnderWay,
    Returned { ok: bool, at: Instant },
}

impl Call {
    pub(super) fn is_over(&self) -> bool {
        !matches!(self, Self::UnderWay)
    }
}

pub(super) async fn carry_out(orders: Arc<Orders>, errand: Errand, view: watch::Sender<View>) {
    let begun = Instant::now();
    let deadline = begun + errand.deadline;
    let (number, target) = (errand.number, errand.permit.target());
    let open = OpenOrder { orders: orders.clone(), number, about: (target, errand.permit.power()) };
    let mut steps: Steps = FuturesUnordered::new();
    steps.push(Box::pin(async move {
        sleep_until(deadline).await;
        (Event::DeadlinePassed, None)
    }));
    let (mut order, first) = errand.beginning();
    let (mut acted, mut begun_on_it, mut stopped) = (false, false, errand.stopped());
    let mut carrier = Carrier::new(orders, errand);
    steps.push(carrier.witness());
    let mut step = Some(first);
    while order.outcome().is_none() {
        if let Some(step) = step.take() {
            if step.acts() && Instant::now() >= deadline {
                (order, _) = order.on(Event::DeadlinePassed); // the agent was held up
                continue;
            }
            begun_on_it &= step != Step::Look; // what is found next is another run, of which others may have to want the end
            let may_begin = if begun_on_it { Ok(()) } else { carrier.is_wanted(step, &order) };
            if let Err(not_begun) = may_begin.and_then(|()| carrier.note(step, &order)) {
                (order, _) = order.on(not_begun);
                continue;
            }
            if let Some(failed) = carrier.take(step, &mut steps) {
                (order, _) = order.on(failed);
            }
            (acted, begun_on_it) = (acted || step.acts(), begun_on_it || step.is_felt());
            if matches!(step, Step::Stop | Step::Kill) {
                stopped = carrier.instance.as_ref().map(|instance| instance.id);
            }
        }
        view.send_replace(carrier.view(&order));
        let Some((event, instance)) = steps.next().await else { break };
        if matches!(event, Event::ProcessGone(..)) {
            if !carrier.is_about(instance.as_ref()) {
                continue; // an earlier one's end, told late: it says nothing of the one that is to be stopped now
            }
            carrier.watched = None;
        }
        if carrier.asked.borrow().elapsed() > WORD_IS_GOOD_FOR || carrier.left.borrow().is_some() {
            (order, _) = order.on(Event::LookIsOld);
        }
        let event = carrier.as_it_was_seen(event);
        carrier.learn(&event, instance);
        let is_gone = matches!(event, Event::ProcessGone(_, false));
        let is_unclear = matches!(event, Event::Found(Found::NotRunning(Standing::Unclear, _)));
        (order, step) = order.on(event);
        if is_gone || step == Some(Step::Look) {
            carrier.shut(is_gone);
        }
        let may_be_started = carrier.may_be_started(&order, is_unclear);
        if may_be_started || carrier.is_stale(&order, step) {
            if !may_be_started {
                carrier.earlier = carrier.proven(&order).or(carrier.earlier.take());
            }
            let (again, look) = carrier.errand.beginning();
            (order, step) = (again, Some(look));
        }
    }
    let done = carrier.view(&order);
    let told = Ended {
        permit: &carrier.errand.permit,
        outcome: done.outcome.as_ref(),
        instance: done.instance.as_ref(),
    };
    let changed = acted && (stopped.is_some() || !*carrier.denied.borrow());
    told.write(number, begun.elapsed(), changed, &open.orders);
    carrier.tell_of_its_leaving(&order);
    open.close(stopped, &done);
    view.send_replace(done);
}

impl Carrier {
    fn new(orders: Arc<Orders>, errand: Errand) -> Self {
        let known = orders.inventory.borrow().get(errand.permit.target()).cloned();
        let domain = errand.with_held(known);
        let (recipe, call) = (watch::channel(errand.recipe()).0, watch::channel(Call::None).0);
        let [looked, asked] = [(); 2].map(|()| watch::channel(Instant::now()).0);
        let (left, is_to_wait) = (watch::channel(None).0, false);
        let (instance, watched, earlier, denied) = (None, None, None, watch::channel(false).0);
        Self {
            orders,
            errand,
            domain,
            instance,
            watched,
            recipe,
            call,
            looked,
            asked,
            left,
            is_to_wait,
            denied,
            earlier,
        }
    }

    /// Whether this is the process that is to be stopped now.
    fn is_about(&self, instance: Option<&Instance>) -> bool {
        instance.map(|instance| instance.id) == self.instance.as_ref().map(|instance| instance.id)
    }

    /// Takes in what a step brought.
    fn learn(&mut self, event: &Event, instance: Option<Instance>) {
        self.instance = instance.or(self.instance.take());
        let is_leaving = matches!(event, Event::Found(Found::Leaving) | Event::FoundAgain(Found::Leaving));
        if is_leaving && self.left.borrow().is_none() {
            self.left.send_replace(Some(Instant::now())); // libvirt tells no event of it where the target was paused before
        }
        // libvirt's fresh word: it is not on its way to another host, whatever was seen before.
        if *event == Event::Found(Found::Running)
            && let Some(domain) = &mut self.domain
        {
            self.left.send_replace(None);
            *domain = Arc::new(Domain { standing: Standing::Active, ..Domain::clone(domain) });
        }
    }

    /// Writes into the journal what is about to be done, before it is done.
    fn note(&mut self, step: Step, order: &Order) -> Result<(), Event> {
        if !step.acts() {
            return Ok(());
        }
        let instance = self.instance.as_ref().map(|instance| instance.id);
        let persistent = self.domain.as_ref().is_none_or(|domain| domain.persistent);
        let (mut state, recipe) = (self.orders.lock(), self.recipe.borrow().clone());
        let state = &mut *state;
        let askers = state.arbiter.askers(self.errand.permit.target(), self.errand.permit.power());
        let until = state.running.get(&self.errand.number).map_or(Duration::ZERO, |running| running.until);
        let acting = self.errand.acting((askers.clone(), until), instance, persistent, recipe);
        let proof = order.proof().filter(|_| step == Step::Start);
        let written = self.errand.write(&mut state.journal, acting, proof);
        for asked in askers {
            if let Some(verdict) = state.arbiter.given(&asked) {
                state.journal.answered(self.errand.number, asked, verdict);
            }
        }
        written.map_err(|error| {
            let is_disk_full = error.kind() == ErrorKind::StorageFull;
            let advice = if is_disk_full { "; make room in the agent's runtime directory" } else { "" };
            let why = format!("the agent's journal cannot be written, so nothing was done: {error}{advice}");
            Event::NotBegun(Reason::Busy, why)
        })
    }

    fn view(&self, order: &Order) -> View {
        View {
            phase: order.phase(),
            instance: self.instance.clone(),
            proof: order.proof(),
            outcome: order.outcome().cloned(),
            earlier: self.earlier.clone(),
        }
    }

    /// Begins a step. What fails at once is told at once, before anything that happens since.
    fn take(&mut self, step: Step, steps: &mut Steps) -> Option<Event> {
        match step {
            Step::Look => {
                self.looked.send_replace(Instant::now());
                self.asked = watch::channel(Instant::now()).0; // what is still asked about the run before counts no more
                steps.push(self.look());
            }
            Step::AbortJob => steps.push(self.ask(|orders, permit| {
                Box::pin(async move { Event::JobAborted(told(orders.hypervisor.abort_job(&permit).await)) })
            })),
            Step::Stop => {
                steps.push(self.stop());
                steps.extend(self.gone());
                steps.push(after(self.errand.grace, Event::GraceOver));
            }
            Step::LookAgain => {
                let asked = self.asked.clone();
                steps.push(self.ask(|orders, permit| {
                    Box::pin(async move {
                        let within = SECOND_LOOK_WITHIN;
                        Event::FoundAgain(ask_for_job(&*orders.hypervisor, &permit, within, &asked).await)
                    })
                }));
            }
            Step::Kill => {
                steps.extend(self.gone());
                return self.kill();
            }
            Step::Confirm => {
                let answered = watch::channel(false).0;
                steps.push(self.confirm(answered.clone()));
                steps.push(self.silence(answered));
            }
            Step::Start => {
                self.starts();
                steps.push(self.start());
            }
        }
        None
    }

    pub(super) fn ask(
        &self,
        question: impl FnOnce(Arc<Orders>, Permit) -> BoxFuture<'static, Event>,
    ) -> BoxFuture<'static, Brought> {
        let event = question(self.orders.clone(), self.errand.permit.clone());
        Box::pin(async move { (event.await, None) })
    }

    fn look(&self) -> BoxFuture<'static, Brought> {
        let (orders, permit, recipe) = (self.orders.clone(), self.errand.permit.clone(), self.recipe.clone());
        let (known, before) =
            (orders.inventory.borrow().get(permit.target()).cloned(), self.errand.before.clone());
        let domain = self.errand.with_held(known).or_else(|| self.domain.clone());
        let (asked, is_to_wait) = (self.asked.clone(), self.is_to_wait);
        Box::pin(async move {
            let domain = if is_to_wait {
                orders.nothing_starts(permit.target()).await;
                orders.inventory.borrow().get(permit.target()).cloned().or(domain)
            } else {
                domain
            };
            match domain {
                Some(domain) => {
                    let is_proven = before.as_ref().is_some_and(|before| before.off.is_some());
                    let patience = if before.is_some() { START_PATIENCE } else { UNCLEAR_PATIENCE };
                    let patience = Instant::now() + patience;
                    let mut found = find(&*orders.hypervisor, &permit, &domain, (&recipe, &asked)).await;
                    while is_unsettled(is_proven, &found) && Instant::now() < patience {
                        sleep(RETRY_START).await;
                        let now = orders.inventory.borrow().get(permit.target()).cloned();
                        let domain = now.unwrap_or_else(|| domain.clone());
                        found = find(&*orders.hypervisor, &permit, &domain, (&recipe, &asked)).await;
                    }
                    before.map_or(found.clone(), |before| before.only_what_it_was_about(&permit, found))
                }
                None => (Event::Found(Found::Nothing("the domain is no longer known".into())), None),
            }
        })
    }

    fn stop(&self) -> BoxFuture<'static, Brought> {
        let (orders, permit, call) = (self.orders.clone(), self.errand.permit.clone(), self.call.clone());
        let asked = *self.asked.borrow();
        call.send_replace(Call::UnderWay);
        Box::pin(async move {
            let result = orders.hypervisor.stop(&permit, asked).await;
            call.send_replace(Call::Returned { ok: result.is_ok(), at: Instant::now() });
            let result = if result == Err(CallError::NotRunning) { Ok(()) } else { result }; // nothing to be hastened
            (Event::StopReturned(told(result)), None)
        })
    }

    fn kill(&self) -> Option<Event> {
        let instance = self.instance.as_ref()?;
        let had_ended = instance.process.is_gone();
        let failure = instance.process.kill().err();
        if had_ended || failure.is_some() && instance.process.is_gone() {
            return Some(Event::KillFailed("it had ended before SIGKILL was sent".to_owned()));
        }
        failure.map(|error| Event::KillFailed(format!("SIGKILL could not be sent: {error}")))
    }

    /// Waits for the end of the instance that is to be stopped, and looks whether another runs in its place.
    fn gone(&mut self) -> Option<BoxFuture<'static, Brought>> {
        let instance = self.instance.clone().filter(|instance| self.watched != Some(instance.id))?;
        self.watched = Some(instance.id);
        let orders = self.orders.clone();
        // What was held only since before a restart may not have been the domain's only process.
        let known = |domain: &Arc<Domain>| match self.errand.before {
            Some(_) => Arc::new(Domain { instance: None, ..Domain::clone(domain) }),
            None => domain.clone(),
        };
        let domain = self.domain.as_ref().map(known);
        let (uuid, number) = (self.errand.permit.target(), self.errand.number);
        let (since, looked) = (Instant::now(), self.looked.clone());
        Some(Box::pin(async move {
            // Beside the stop, since it takes some milliseconds: is it the domain's only process?
            join(orders.hypervisor.process_of(uuid, Duration::ZERO), instance.process.gone()).await;
            loop {
                instance.process.gone().await;
                if let Some(proof) = Proof::process_gone(&instance) {
                    let gone = |another| (Event::ProcessGone(proof, another), Some(instance.clone()));
                    let Some(domain) = domain else { return gone(true) }; // nobody looked: look again
                    let (hypervisor, now) = (&*orders.hypervisor, Instant::now());
                    // Who joined since then asks about what may have been started since then, unseen by libvirt.
                    if orders.joined(number).is_some_and(|joined| joined > since) {
                        let domain = Domain { instance: None, ..Domain::clone(&domain) };
                        if !runs_again(hypervisor, &domain, &instance, now).await {
                            looked.send_replace(now);
                            return gone(false);
                        }
                    }
                    looked.send_replace(since);
                    return gone(runs_again(hypervisor, &domain, &instance, since).await);
                }
            }
        }))
    }
}

fn after(time: Duration, event: Event) -> BoxFuture<'static, Brought> {
    Box::pin(async move {
        sleep(time).await;
        (event, None)
    })
}

pub(super) fn told<T>(result: Result<T, CallError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
