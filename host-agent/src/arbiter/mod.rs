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

/// How long a verdict is kept for repeats.
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
    answer: Answer,
}

impl Entry {
    fn becomes(&self) -> Decision {
        match &self.answer {
            Answer::Awaited => Decision::Join(self.order),
            Answer::Given(verdict, _) => Decision::Repeat(verdict.clone()),
        }
    }

    fn is_old(&self, now: Duration) -> bool {
        matches!(&self.answer, Answer::Given(_, at) if now.saturating_sub(*at) > VERDICT_KEPT)
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
    open: HashMap<Uuid, Open>,
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
        let is_open =
            |entry: &&Entry| self.open.get(&entry.target).is_some_and(|open| open.number == entry.order);
        if entries.iter().filter(is_open).count() >= OPEN_PER_GUEST {
            return Decision::Refuse(Reason::Busy, "too many orders of this guest are open");
        }
        if self.is_condemned(application.asker.0, Some(application.asker.1)) {
            return Decision::Refuse(Reason::Condemned, "this guest is being fenced");
        }
        let decision = match self.open.get_mut(&application.target) {
            Some(open) if open.power == application.power && !open.starting => {
                open.askers.push((application.asked(), Some(application.asker.1)));
                Decision::Join(open.number)
            }
            Some(_) => return Decision::Refuse(Reason::Busy, "another order on this target is open"),
            None => Decision::Begin(self.begin(application)),
        };
        self.remember(application, &decision);
        decision
    }

    /// Whether this request was accepted before.
    #[must_use]
    pub fn knows(&self, application: &Application) -> bool {
        let entries = self.guests.get(&application.asker.0);
        entries.is_some_and(|entries| entries.iter().any(|entry| entry.request == application.request))
    }

    fn begin(&mut self, application: &Application) -> OrderNumber {
        self.accepted += 1;
        let (number, power) = (self.accepted, application.power);
        let open = Open {
            number,
            power,
            starting: false,
            askers: vec![(application.asked(), Some(application.asker.1))],
        };
        self.open.insert(application.target, open);
        number
    }

    fn remember(&mut self, application: &Application, decision: &Decision) {
        let (Decision::Begin(number) | Decision::Join(number)) = decision else { return };
        let entry = Entry {
            request: application.request,
            target: application.target,
            power: application.power,
            order: *number,
            answer: Answer::Awaited,
        };
        push(self.guests.entry(application.asker.0).or_default(), entry);
    }

    /// Takes up what the journal tells of an order, before anything is accepted.
    pub fn restore(&mut self, number: OrderNumber, known: &Known) {
        self.accepted = self.accepted.max(number);
        let (target, power) = (known.acting.permit.target(), known.acting.permit.power());
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
            let entry = Entry { request: asked.request, target, power, order: number, answer };
            push(self.guests.entry(asked.guest).or_default(), entry);
        }
        match &known.ended {
            Some(ended) => self.condemned.extend(ended.stopped.map(|instance| (target, instance))),
            None => {
                let first = known.acting.permit.asker();
                let run = |asked: &Asked| Some(first.instance()).filter(|_| asked.guest == first.uuid());
                let askers = known.acting.askers.iter().map(|asked| (*asked, run(asked))).collect();
                self.open.insert(target, Open { number, power, starting: known.off.is_some(), askers });
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

    /// Whose requests wait for the open order on this target.
    #[must_use]
    pub fn askers(&self, target: Uuid) -> Vec<Asked> {
        self.open.get(&target).into_iter().flat_map(|open| &open.askers).map(|(asked, _)| *asked).collect()
    }

    /// Whether anybody waits for the open order on this target who may want anything; otherwise why not.
    pub fn is_wanted(&self, target: Uuid) -> Result<(), Reason> {
        let awaited = self.open.get(&target).into_iter().flat_map(|open| &open.askers);
        let mut awaited = awaited.filter(|(asked, _)| self.given(asked).is_none()).peekable();
        if awaited.peek().is_none() {
            return Err(Reason::Timeout);
        }
        let is_free = |(asked, run): &(Asked, Option<InstanceId>)| {
            asked.guest == target || !self.is_condemned(asked.guest, *run)
        };
        if awaited.any(is_free) { Ok(()) } else { Err(Reason::Condemned) }
    }

    /// An order's target is gone and is to be started, or runs again after all.
    pub fn starting(&mut self, target: Uuid, is_starting: bool) {
        if let Some(open) = self.open.get_mut(&target) {
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
    pub fn finish(&mut self, target: Uuid, stopped: Option<InstanceId>) {
        self.open.remove(&target);
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
        let open = self.open.get(&guest).is_some_and(|open| open.power != Power::On);
        open || run.is_some() && self.condemned.get(&guest) == run.as_ref()
    }

    fn forget_old(&mut self, guest: Uuid, now: Duration) {
        if let Some(entries) = self.guests.get_mut(&guest) {
            entries.retain(|entry| !entry.is_old(now));
        }
    }
}

/// Remembers a request, in the place of the one whose answer is the oldest.
fn push(entries: &mut VecDeque<Entry>, entry: Entry) {
    if entries.len() >= VERDICTS_PER_GUEST {
        let given = entries.iter().enumerate().filter_map(|(place, entry)| match &entry.answer {
            Answer::Given(_, at) => Some((*at, place)),
            Answer::Awaited => None,
        });
        if let Some((_, oldest)) = given.min() {
            entries.remove(oldest);
        }
    }
    entries.push_back(entry);
}

#[cfg(test)]
mod tests;
