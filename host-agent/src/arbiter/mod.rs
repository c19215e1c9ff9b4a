//! Who goes first: joins equal requests, remembers verdicts, decides fence races.
//!
//! In:  accepted requests, one after the other. Out: a [`Decision`] for each.
//!
//! Invariant: pure. It reads no clock and does no I/O, so the same sequence gives the same decisions on every host,
//! whoever makes the sequence. A condemned guest's power requests are refused: of two that fence each other, the one
//! accepted first survives.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use fence_vmchannel_protocol::{Power, Reason, RequestId, Verdict};
use uuid::Uuid;

use crate::domain::InstanceId;
use crate::journal::{Asked, Known};

/// The number of an order, in the order of acceptance.
pub type OrderNumber = u64;

/// How long a verdict is kept for repeats, if nobody may ask for it longer.
pub const VERDICT_KEPT: Duration = Duration::from_secs(600);
/// How many verdicts are kept for one guest.
pub const VERDICTS_PER_GUEST: usize = 64;
/// How many orders one guest may wait for at a time.
pub const OPEN_PER_GUEST: usize = 4;

/// A request that the policy permits, as the arbiter needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The asking guest and the process it runs as.
    pub asker: (Uuid, InstanceId),
    /// The request's id.
    pub request: RequestId,
    /// The target.
    pub target: Uuid,
    /// What is to be done.
    pub power: Power,
    /// Until when it may be asked again.
    pub until: Duration,
}

impl Application {
    pub(crate) fn asked(&self) -> Asked {
        Asked { guest: self.asker.0, request: self.request }
    }
}

/// What becomes of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A new order is to be carried out.
    Begin(OrderNumber),
    /// This order, begun for an equal request, will answer it.
    Join(OrderNumber),
    /// It was answered before.
    Repeat(Box<Verdict>),
    /// It is not taken.
    Refuse(Reason, &'static str),
}

#[derive(Debug)]
struct Open {
    number: OrderNumber,
    power: Power,
    /// Its target is gone and is to be started: who asks now asks about the new run.
    starting: bool,
    /// It has begun to act.
    begun: bool,
    /// An order to stop its target was accepted since: it begins nothing any more.
    overtaken: bool,
    /// Who asked for it, in which run; after a restart of the agent that is known of the first one only.
    askers: Vec<(Asked, Option<InstanceId>)>,
}

#[derive(Debug)]
struct Entry {
    request: RequestId,
    target: Uuid,
    power: Power,
    /// The order that it began or joined.
    order: OrderNumber,
    /// Until when it may be asked again.
    until: Duration,
    answer: Answer,
}

impl Open {
    fn new(number: OrderNumber, power: Power, askers: Vec<(Asked, Option<InstanceId>)>) -> Self {
        Self { number, power, starting: false, begun: false, overtaken: false, askers }
    }

    fn can_be_joined(&self, power: Power) -> bool {
        self.power == power && !self.starting && !self.overtaken
    }
}

impl Entry {
    /// Whether its order is among these.
    fn is_open(&self, stops: &HashMap<Uuid, Open>, starts: &HashMap<Uuid, Open>) -> bool {
        let open = if self.power == Power::On { starts } else { stops };
        open.get(&self.target).is_some_and(|open| open.number == self.order)
    }

    fn becomes(&self) -> Decision {
        match &self.answer {
            Answer::Awaited => Decision::Join(self.order),
            Answer::Given(verdict, _) => Decision::Repeat(verdict.clone()),
        }
    }

    fn is_old(&self, now: Duration) -> bool {
        let is_told = |at: Duration| now.saturating_sub(at) > VERDICT_KEPT && now > self.until;
        matches!(&self.answer, Answer::Given(_, at) if is_told(*at))
    }
}

#[derive(Debug)]
enum Answer {
    Awaited,
    Given(Box<Verdict>, Duration),
}

/// All open orders and recent verdicts of one host.
#[derive(Debug, Default)]
pub struct Arbiter {
    accepted: OrderNumber,
    /// The order on each target that stops it, whatever comes after.
    stops: HashMap<Uuid, Open>,
    /// The order on each target that only starts it. It keeps nobody from stopping it.
    starts: HashMap<Uuid, Open>,
    /// The last instance of each target that was stopped or sent SIGKILL: nothing it asked for counts any more, not even
    /// what still waits in its socket after its death.
    condemned: HashMap<Uuid, InstanceId>,
    guests: HashMap<Uuid, VecDeque<Entry>>,
}

impl Arbiter {
    /// Decides about the next application of the sequence. `now` is the time since the sequence began.
    pub fn accept(&mut self, application: &Application, now: Duration) -> Decision {
        let guest = application.asker.0;
        self.forget_old(guest, now);
        let entries = self.guests.entry(guest).or_default();
        if let Some(entry) = entries.iter().find(|entry| entry.request == application.request) {
            if (entry.target, entry.power) != (application.target, application.power) {
                return Decision::Refuse(Reason::BadRequest, "this id was used for another request");
            }
            return entry.becomes();
        }
        // Also who had its answer already, because its own time was over, holds its place until the order ends.
        let is_open = |entry: &&Entry| entry.is_open(&self.stops, &self.starts);
        if entries.iter().filter(is_open).count() >= OPEN_PER_GUEST {
            return Decision::Refuse(Reason::Busy, "too many orders of this guest are open");
        }
        if self.is_condemned(application.asker.0, Some(application.asker.1)) {
            return Decision::Refuse(Reason::Condemned, "this guest is being fenced");
        }
        let is_being_stopped = self.stops.contains_key(&application.target);
        let decision = match self.orders(application.power).get_mut(&application.target) {
            Some(open) if open.can_be_joined(application.power) => {
                open.askers.push((application.asked(), Some(application.asker.1)));
                Decision::Join(open.number)
            }
            None if application.power != Power::On || !is_being_stopped => {
                Decision::Begin(self.begin(application))
            }
            Some(_) | None => {
                return Decision::Refuse(Reason::Busy, "another order on this target is open");
            }
        };
        self.remember(application, &decision);
        decision
    }

    /// Whether this request was accepted before, and is not forgotten now.
    #[must_use]
    pub fn knows(&self, application: &Application, now: Duration) -> bool {
        let entries = self.guests.get(&application.asker.0).into_iter().flatten();
        entries.filter(|entry| !entry.is_old(now)).any(|entry| entry.request == application.request)
    }

    /// The open orders of the kind that does this.
    fn orders(&mut self, power: Power) -> &mut HashMap<Uuid, Open> {
        if power == Power::On { &mut self.starts } else { &mut self.stops }
    }

    /// The open order on this target of the kind that does this.
    fn on(&self, target: Uuid, power: Power) -> Option<&Open> {
        if power == Power::On { &self.starts } else { &self.stops }.get(&target)
    }

    /// An order is open. One that stops its target overtakes the one that starts it.
    fn open(&mut self, target: Uuid, open: Open) {
        if let Some(start) = self.starts.get_mut(&target).filter(|_| open.power != Power::On) {
            start.overtaken = true;
        }
        self.orders(open.power).insert(target, open);
    }

    fn begin(&mut self, application: &Application) -> OrderNumber {
        self.accepted += 1;
        let (number, power) = (self.accepted, application.power);
        let askers = vec![(application.asked(), Some(application.asker.1))];
        self.open(application.target, Open::new(number, power, askers));
        number
    }

    fn remember(&mut self, application: &Application, decision: &Decision) {
        let (Decision::Begin(number) | Decision::Join(number)) = decision else { return };
        let entry = Entry {
            request: application.request,
            target: application.target,
            power: application.power,
            order: *number,
            until: application.until,
            answer: Answer::Awaited,
        };
        self.push(application.asker.0, entry);
    }

    /// Takes up what the journal tells of an order, before anything is accepted.
    pub fn restore(&mut self, number: OrderNumber, known: &Known) {
        self.accepted = self.accepted.max(number);
        let (target, power) = (known.acting.permit.target(), known.acting.permit.power());
        let until = known.acting.until;
        for asked in &known.acting.askers {
            let told = known.answered.get(asked);
            let given = |verdict: &Verdict, at| Answer::Given(Box::new(verdict.clone()), at);
            let answer = match (told, &known.ended) {
                (Some(verdict), ended) => {
                    given(verdict, ended.as_ref().map_or(known.acting.accepted, |ended| ended.at))
                }
                (None, Some(ended)) => given(&ended.verdict, ended.at),
                (None, None) => Answer::Awaited,
            };
            let entry = Entry { request: asked.request, target, power, order: number, until, answer };
            self.push(asked.guest, entry);
        }
        match &known.ended {
            Some(ended) => self.condemned.extend(ended.stopped.map(|instance| (target, instance))),
            None => {
                let first = known.acting.permit.asker();
                let run = |asked: &Asked| Some(first.instance()).filter(|_| asked.guest == first.uuid());
                let askers = known.acting.askers.iter().map(|asked| (*asked, run(asked))).collect();
                let open = Open::new(number, power, askers);
                self.open(target, Open { starting: known.off.is_some(), begun: true, ..open });
            }
        }
    }

    /// What this request was answered, if it was.
    #[must_use]
    pub fn given(&self, asked: &Asked) -> Option<&Verdict> {
        let entry = self.guests.get(&asked.guest)?.iter().find(|entry| entry.request == asked.request)?;
        if let Answer::Given(verdict, _) = &entry.answer { Some(verdict) } else { None }
    }

    /// What became of a request for this that was accepted before.
    #[must_use]
    pub fn before(&self, asked: &Asked, power: Power, is_target: impl Fn(Uuid) -> bool) -> Option<Decision> {
        let mut entries = self.guests.get(&asked.guest)?.iter();
        let entry = entries.find(|entry| entry.request == asked.request)?;
        if entry.power != power || !is_target(entry.target) {
            return None; // the id was used for another request
        }
        Some(entry.becomes())
    }

    /// Whose requests wait for the open order that does this to this target.
    #[must_use]
    pub fn askers(&self, target: Uuid, power: Power) -> Vec<Asked> {
        self.on(target, power).into_iter().flat_map(|open| &open.askers).map(|(asked, _)| *asked).collect()
    }

    /// An order begins to act, if anybody waits for it who was told nothing and may want that; otherwise why not.
    pub fn begin_to_act(
        &mut self,
        target: Uuid,
        power: Power,
        is_told: impl Fn(&Asked) -> bool,
    ) -> Result<(), Reason> {
        let open = self.on(target, power).ok_or(Reason::Timeout)?;
        if open.overtaken && !open.begun {
            return Err(Reason::Busy);
        }
        let awaited = open.askers.iter().filter(|(asked, _)| self.given(asked).is_none() && !is_told(asked));
        let mut awaited = awaited.peekable();
        if awaited.peek().is_none() {
            return Err(Reason::Timeout);
        }
        if !awaited.any(|(asked, run)| asked.guest == target || !self.is_condemned(asked.guest, *run)) {
            return Err(Reason::Condemned);
        }
        self.orders(power).entry(target).and_modify(|open| open.begun = true);
        Ok(())
    }

    /// The order that starts this target and has begun to.
    #[must_use]
    pub fn start_under_way(&self, target: Uuid) -> Option<OrderNumber> {
        self.starts.get(&target).filter(|open| open.begun).map(|open| open.number)
    }

    /// Nobody joins an order whose target is gone and is to be started, but if that runs again after all.
    pub fn starting(&mut self, target: Uuid, power: Power, is_starting: bool) {
        if let Some(open) = self.orders(power).get_mut(&target) {
            open.starting = is_starting;
        }
    }

    /// Everybody who still waits for this order, or no longer does, has this verdict.
    pub fn settle(&mut self, number: OrderNumber, verdict: &Verdict, now: Duration) {
        for entry in self.guests.values_mut().flatten() {
            if entry.order == number && matches!(entry.answer, Answer::Awaited) {
                entry.answer = Answer::Given(Box::new(verdict.clone()), now);
            }
        }
    }

    /// Forgets domains that are no more. What a guest was told is kept as long as ever: libvirt may know it again.
    pub fn retain(&mut self, is_known: impl Fn(Uuid) -> bool, now: Duration) {
        self.guests.retain(|guest, entries| {
            if !is_known(*guest) {
                entries.retain(|entry| !entry.is_old(now));
            }
            is_known(*guest) || !entries.is_empty()
        });
        self.condemned.retain(|guest, _| is_known(*guest));
    }

    /// An order ended. `stopped` is the target's instance if it was stopped or sent SIGKILL, seen dead or not.
    pub fn finish(&mut self, target: Uuid, power: Power, stopped: Option<InstanceId>) {
        self.orders(power).remove(&target);
        if let Some(instance) = stopped {
            self.condemned.insert(target, instance);
        }
    }

    /// A guest was given this verdict; a repeat of its request gets the same.
    pub fn answered(&mut self, guest: Uuid, request: RequestId, verdict: &Verdict, now: Duration) {
        let entries = self.guests.get_mut(&guest);
        if let Some(entry) =
            entries.and_then(|entries| entries.iter_mut().find(|entry| entry.request == request))
        {
            entry.answer = Answer::Given(Box::new(verdict.clone()), now);
        }
    }

    /// A guest whose end is decided may not act.
    fn is_condemned(&self, guest: Uuid, run: Option<InstanceId>) -> bool {
        let is_being_stopped = self.stops.contains_key(&guest);
        is_being_stopped || run.is_some() && self.condemned.get(&guest) == run.as_ref()
    }

    /// Remembers a request, in the place of the one whose answer is the oldest and whose order has ended.
    fn push(&mut self, guest: Uuid, entry: Entry) {
        let entries = self.guests.entry(guest).or_default();
        if entries.len() >= VERDICTS_PER_GUEST {
            let given = entries.iter().enumerate().filter_map(|(place, entry)| match &entry.answer {
                Answer::Given(_, at) if !entry.is_open(&self.stops, &self.starts) => Some((*at, place)),
                Answer::Given(..) | Answer::Awaited => None,
            });
            if let Some((_, oldest)) = given.min() {
                entries.remove(oldest);
            }
        }
        entries.push_back(entry);
    }

    fn forget_old(&mut self, guest: Uuid, now: Duration) {
        if let Some(entries) = self.guests.get_mut(&guest) {
            entries.retain(|entry| !entry.is_old(now));
        }
    }
}

#[cfg(test)]
mod tests;
