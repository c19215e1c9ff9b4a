//! Carries out one order: takes the state machine's steps and brings it what happened.
//!
//! In:  a permit. Out: the order's [`View`], at last with its outcome.
//!
//! Invariant: no step is waited for beyond the order's deadline; a [`Proof`] is taken from the very instance that was to be
//! stopped.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Orders;
use super::errand::Errand;
use super::find::{find, find_again, runs_again};
use super::open::{OpenOrder, View};
use crate::audit::Ended;
use crate::domain::{Domain, Instance, InstanceId, Sighting, Standing};
use crate::hypervisor::{CallError, Recipe};
use crate::inventory::settled;
use crate::order::{Event, Found, Order, Outcome, Proof, Step};
use crate::policy::Permit;

/// How long a start waits for a libvirt that is away.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// What a step brought: an event, and the instance that was found.
pub(super) type Brought = (Event, Option<Instance>);
type Steps = FuturesUnordered<BoxFuture<'static, Brought>>;

pub(super) struct Carrier {
    pub(super) orders: Arc<Orders>,
    errand: Errand,
    pub(super) domain: Option<Arc<Domain>>,
    pub(super) instance: Option<Instance>,
    /// The instance whose end is awaited already, and was not told of yet.
    watched: Option<InstanceId>,
    recipe: watch::Sender<Option<Recipe>>,
    /// libvirt's call to stop it: a start must not overtake it.
    pub(super) call: watch::Sender<Call>,
    /// When what is known of it was looked for.
    looked: watch::Sender<Instant>,
    /// When libvirt was asked what the target does, the last time.
    asked: watch::Sender<Instant>,
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

/// No migration comes and goes in less than this.
pub(super) const LOOK_IS_GOOD_FOR: Duration = Duration::from_millis(250);

pub(super) async fn carry_out(orders: Arc<Orders>, errand: Errand, view: watch::Sender<View>) {
    let begun = Instant::now();
    let deadline = begun + errand.deadline;
    let (number, target) = (errand.number, errand.permit.target());
    let open = OpenOrder { orders: orders.clone(), number, target };
    let mut steps: Steps = FuturesUnordered::new();
    steps.push(Box::pin(async move {
        sleep_until(deadline).await;
        (Event::DeadlinePassed, None)
    }));
    let (mut order, first) = errand.beginning();
    let (mut acted, mut stopped) = (false, errand.stopped());
    let mut carrier = Carrier::new(orders, errand);
    let mut step = Some(first);
    while order.outcome().is_none() {
        if let Some(step) = step.take() {
            if step.acts() && Instant::now() >= deadline {
                (order, _) = order.on(Event::DeadlinePassed); // the agent was held up
                continue;
            }
            let noted = carrier.note(step, &order);
            if let Err(why) = noted {
                (order, _) = order.on(Event::NotWritten(why));
                continue;
            }
            carrier.take(step, &mut steps);
            acted |= step.acts();
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
            if carrier.asked.borrow().elapsed() > LOOK_IS_GOOD_FOR {
                (order, _) = order.on(Event::LookIsOld); // though nobody came to say so in time
            }
        }
        carrier.learn(&event, instance);
        (order, step) = order.on(event);
        if carrier.is_stale(&order, step) {
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
    told.write(number, begun.elapsed(), acted, &open.orders);
    open.close(stopped, &done);
    view.send_replace(done);
}

impl Carrier {
    fn new(orders: Arc<Orders>, errand: Errand) -> Self {
        let known = orders.inventory.borrow().get(errand.permit.target()).cloned();
        let domain = errand.with_held(known);
        let (recipe, call) = (watch::channel(errand.recipe()).0, watch::channel(Call::None).0);
        let [looked, asked] = [(); 2].map(|()| watch::channel(Instant::now()).0);
        Self { orders, errand, domain, instance: None, watched: None, recipe, call, looked, asked }
    }

    /// Whether this is the process that is to be stopped now.
    fn is_about(&self, instance: Option<&Instance>) -> bool {
        instance.map(|instance| instance.id) == self.instance.as_ref().map(|instance| instance.id)
    }

    /// Takes in what a step brought.
    fn learn(&mut self, event: &Event, instance: Option<Instance>) {
        self.instance = instance.or(self.instance.take());
        // libvirt's fresh word: it is not on its way to another host, whatever was seen before.
        if *event == Event::Found(Found::Running)
            && let Some(domain) = &mut self.domain
        {
            *domain = Arc::new(Domain { standing: Standing::Active, ..Domain::clone(domain) });
        }
    }

    /// Whether somebody joined after the last look: what it saw is older than their question.
    fn is_stale(&self, order: &Order, step: Option<Step>) -> bool {
        let is_off = matches!(order.outcome(), Some(Outcome::Off(_)));
        let is_about_to_start = step == Some(Step::Start) && order.proof().is_some();
        (is_off || is_about_to_start) && {
            let joined = self.orders.joined(self.errand.number);
            joined.is_some_and(|joined| joined > *self.looked.borrow())
        }
    }

    /// Writes into the journal what is about to be done, before it is done.
    fn note(&mut self, step: Step, order: &Order) -> Result<(), String> {
        if !step.acts() {
            return Ok(());
        }
        let instance = self.instance.as_ref().map(|instance| instance.id);
        let persistent = self.domain.as_ref().is_none_or(|domain| domain.persistent);
        let (mut state, recipe) = (self.orders.lock(), self.recipe.borrow().clone());
        let state = &mut *state;
        let askers = state.arbiter.askers(self.errand.permit.target());
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
            format!("the agent's journal cannot be written, so nothing was done: {error}; make room in its runtime directory")
        })
    }

    fn view(&self, order: &Order) -> View {
        View {
            phase: order.phase(),
            instance: self.instance.clone(),
            proof: order.proof(),
            outcome: order.outcome().cloned(),
        }
    }

    fn take(&mut self, step: Step, steps: &mut Steps) {
        match step {
            Step::Look => {
                self.looked.send_replace(Instant::now());
                steps.push(self.look());
            }
            Step::AbortJob => steps.push(self.ask(|orders, permit| {
                Box::pin(async move { Event::JobAborted(told(orders.hypervisor.abort_job(&permit).await)) })
            })),
            Step::Stop => {
                steps.push(self.stop());
                steps.extend(self.gone());
                steps.push(after(LOOK_IS_GOOD_FOR, Event::LookIsOld));
                steps.push(after(self.errand.grace, Event::GraceOver));
            }
            Step::LookAgain => {
                let asked = self.asked.clone();
                steps.push(self.ask(|orders, permit| {
                    Box::pin(async move {
                        Event::FoundAgain(find_again(&*orders.hypervisor, &permit, &asked).await)
                    })
                }));
            }
            Step::Kill => {
                steps.extend(self.kill());
                steps.extend(self.gone());
                steps.push(after(LOOK_IS_GOOD_FOR, Event::LookIsOld));
            }
            Step::Confirm => {
                let answered = watch::channel(false).0;
                steps.push(self.confirm(answered.clone()));
                steps.push(self.silence(answered));
            }
            Step::Start => {
                self.orders.lock().arbiter.starting(self.errand.permit.target());
                steps.push(self.start());
            }
        }
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
        let asked = self.asked.clone();
        Box::pin(async move {
            match domain {
                Some(domain) => {
                    let found = find(&*orders.hypervisor, &permit, &domain, (&recipe, &asked)).await;
                    before.map_or(found.clone(), |before| before.only_what_it_was_about(&permit, found))
                }
                None => (Event::Found(Found::Nothing("the domain is no longer known".into())), None),
            }
        })
    }

    fn stop(&self) -> BoxFuture<'static, Brought> {
        let (orders, permit, call) = (self.orders.clone(), self.errand.permit.clone(), self.call.clone());
        call.send_replace(Call::UnderWay);
        Box::pin(async move {
            let result = orders.hypervisor.stop(&permit).await;
            call.send_replace(Call::Returned { ok: result.is_ok(), at: Instant::now() });
            let result = if result == Err(CallError::NotRunning) { Ok(()) } else { result }; // nothing to be hastened
            (Event::StopReturned(told(result)), None)
        })
    }

    fn kill(&self) -> Option<BoxFuture<'static, Brought>> {
        let instance = self.instance.as_ref()?;
        let why = if instance.process.is_gone() {
            "it had ended before SIGKILL was sent".to_owned()
        } else {
            let error = instance.process.kill().err().filter(|_| !instance.process.is_gone())?;
            format!("SIGKILL could not be sent: {error}")
        };
        Some(Box::pin(std::future::ready((Event::KillFailed(why), None))))
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
                    // Who joined since then asks about what may have been started since then, unseen by libvirt.
                    let is_joined = orders.joined(number).is_some_and(|joined| joined > since);
                    let since = if is_joined { Instant::now() } else { since };
                    looked.send_replace(since);
                    let another = match domain {
                        Some(domain) if is_joined => {
                            let domain = Domain { instance: None, ..Domain::clone(&domain) };
                            runs_again(&*orders.hypervisor, &domain, &instance, since).await
                        }
                        Some(domain) => runs_again(&*orders.hypervisor, &domain, &instance, since).await,
                        None => true, // nobody looked: look again
                    };
                    return (Event::ProcessGone(proof, another), Some(instance));
                }
            }
        }))
    }

    fn start(&self) -> BoxFuture<'static, Brought> {
        let (orders, permit, domain) = (self.orders.clone(), self.errand.permit.clone(), self.domain.clone());
        let (mut call, recipe) = (self.call.subscribe(), self.recipe.borrow().clone());
        Box::pin(async move {
            let transient = domain.as_ref().is_some_and(|domain| !domain.persistent);
            let recipe = match recipe {
                None if transient => {
                    let why = "it is transient and its definition is gone with it: start it from its XML";
                    return (Event::StartFailed(why.into()), None);
                }
                recipe => recipe.unwrap_or(Recipe::Defined),
            };
            let _ = call.wait_for(Call::is_over).await;
            if let Some(domain) = &domain
                && let Ok(Standing::Moved | Standing::Leaving) =
                    settled(&*orders.hypervisor, domain, || ()).await
            {
                let why = "somebody started it meanwhile, and it moved to another host";
                return (Event::StartFailed(why.into()), None);
            }
            let patience = Instant::now() + START_PATIENCE;
            loop {
                match orders.hypervisor.start(&permit, &recipe).await {
                    Ok(()) => break,
                    Err(CallError::Unreachable(_)) if Instant::now() < patience => sleep(RETRY_START).await,
                    Err(error) => return (Event::StartFailed(error.to_string()), None),
                }
            }
            let now = domain.map(|domain| orders.hypervisor.instance_now(&domain));
            let runs = matches!(now, Some(Sighting::Runs(_)));
            let ended = "libvirt says started, but there is no process".to_owned();
            (if runs { Event::Started } else { Event::StartFailed(ended) }, None)
        })
    }
}

/// How soon a start is tried again while libvirt is away.
const RETRY_START: Duration = Duration::from_millis(250);

fn after(time: Duration, event: Event) -> BoxFuture<'static, Brought> {
    Box::pin(async move {
        sleep(time).await;
        (event, None)
    })
}

pub(super) fn told<T>(result: Result<T, CallError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
