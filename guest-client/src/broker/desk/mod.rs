//! The broker's heart: who asked what, who goes next, and whose an answer is.
//!
//! In:  programs that come and go, their requests, the host's lines; the time. Out: lines for the host, and whom its
//! answers belong to.
//!
//! Invariant: an answer goes to the program that asked under its id and to nobody else; nothing here makes up a verdict,
//! only the host does; memory is bounded whatever programs do.

mod limits;
mod turn;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use fence_vmchannel_protocol::limits::TIMEOUT_MIN;
use fence_vmchannel_protocol::{Ask, Reason, Request, RequestId, encode_line};
use tokio::time::Instant;

use super::bucket::Bucket;
use super::policy::Rights;
pub(super) use limits::PROGRAMS;
use limits::{OWNED, OWNED_FOR, REQUESTS, WAITING};
use turn::Turns;

/// A program's number, in the order of coming.
pub(super) type ProgramId = u64;

/// The host answers by the end of a request's time; this much later it is not awaited any more.
const LATE: Duration = Duration::from_secs(5);
/// A signed line that the host could not open may never be answered. Without a word it takes room for so long, and its id is
/// known for so long, which is more than a client is silent before it repeats the line.
const HOLDS_UNHEARD: Duration = Duration::from_secs(3);
const KNOWN_UNHEARD: Duration = Duration::from_secs(10);

/// Why a request does not go to the host; all of them are refusals of the broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declined {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

/// A request, and its line where that is signed: then it passes as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) signed: Option<Vec<u8>>,
}

/// A request that waits for its turn.
#[derive(Debug)]
struct Waiting {
    question: Question,
    until: Instant,
}

/// A request that the host has.
#[derive(Debug)]
struct Asked {
    question: Question,
    /// Its program does not wait longer.
    until: Instant,
    /// Nobody, once its program is gone.
    program: Option<ProgramId>,
    user: u32,
    first: bool,
    sent: Instant,
    /// The host has said something about it.
    was_heard: bool,
    /// The host has said that it could not open some signed line.
    is_doubted: bool,
}

#[derive(Debug)]
struct Program {
    rights: Rights,
    waiting: VecDeque<Waiting>,
    /// When it was served last, in turns.
    served: u64,
}

/// All programs and their requests.
#[derive(Debug)]
pub(super) struct Desk {
    programs: BTreeMap<ProgramId, Program>,
    came: ProgramId,
    asked: HashMap<RequestId, Asked>,
    turns: Turns,
    bucket: Bucket,
    /// Whose the ids of power requests are, for as long as the host may repeat their verdicts.
    owned: VecDeque<(RequestId, u32, Instant)>,
}

impl Desk {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            programs: BTreeMap::new(),
            came: 0,
            asked: HashMap::new(),
            turns: Turns::default(),
            bucket: Bucket::new(REQUESTS, now),
            owned: VecDeque::new(),
        }
    }

    /// A program came; `None` when there are too many of its kind.
    pub(super) fn join(&mut self, rights: Rights) -> Option<ProgramId> {
        let present = self.programs.values().map(|program| &program.rights);
        if !limits::may_join(&rights, &present) {
            return None;
        }
        self.came += 1;
        self.programs.insert(self.came, Program { rights, waiting: VecDeque::new(), served: 0 });
        Some(self.came)
    }

    /// A program is gone: what the host has of it goes on, what waits is never asked.
    pub(super) fn leave(&mut self, id: ProgramId) {
        self.programs.remove(&id);
        for asked in self.asked.values_mut().filter(|asked| asked.program == Some(id)) {
            asked.program = None;
        }
    }

    /// The connection to the host is gone, and with it all that was asked: everybody has to ask again.
    pub(super) fn host_is_lost(&mut self) {
        self.programs.clear();
        self.asked.clear();
    }

    /// A program asks.
    pub(super) fn ask(&mut self, from: ProgramId, question: Question, now: Instant) -> Result<(), Declined> {
        let Some(rights) = self.programs.get(&from).map(|program| program.rights.clone()) else {
            return Ok(()); // gone meanwhile
        };
        let Request { id, ref ask, .. } = question.request;
        if !rights.permit(ask) {
            let (user, may) = (rights.user, rights.words());
            let detail = format!("by this guest's own broker: user {user} may ask {may}; see broker.toml");
            return Err(Declined { reason: Reason::NotPermitted, detail });
        }
        self.own(&question, rights.user, now)?;
        // A program that asks again while it waits has waited all the while.
        let mut until = now + question.request.delay + question.request.timeout;
        for waiting in self.programs.values_mut().map(|program| &mut program.waiting) {
            waiting.retain(|waiting| {
                let is_other = waiting.question.request.id != id;
                until = if is_other { until } else { until.min(waiting.until) };
                is_other
            });
        }
        let Some(program) = self.programs.get_mut(&from) else { return Ok(()) };
        if program.waiting.len() >= WAITING {
            let detail = format!("the broker keeps {WAITING} requests of a program: wait for their answers");
            return Err(Declined { reason: Reason::Busy, detail });
        }
        program.waiting.push_back(Waiting { question, until });
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.program = Some(from); // it came again by another connection, or heard nothing for a while
        }
        Ok(())
    }

    /// An id belongs to the user who used it first, and means one request.
    fn own(&mut self, question: &Question, user: u32, now: Instant) -> Result<(), Declined> {
        let Request { id, ref ask, .. } = question.request;
        self.owned.retain(|(_, _, until)| *until > now);
        let present = self.programs.values().flat_map(|program| {
            program.waiting.iter().map(|waiting| (program.rights.user, &waiting.question.request))
        });
        let present = present.chain(self.asked.values().map(|asked| (asked.user, &asked.question.request)));
        let is_foreign = present
            .filter(|(_, other)| other.id == id)
            .any(|(owner, other)| owner != user || other.ask != *ask)
            || self.owned.iter().any(|(other, owner, _)| *other == id && *owner != user);
        if is_foreign {
            let detail = "another request has this id; ids are random numbers".to_owned();
            return Err(Declined { reason: Reason::BadRequest, detail });
        }
        if matches!(ask, Ask::Power(..)) {
            self.owned.retain(|(other, _, _)| *other != id);
            self.owned.truncate(OWNED - 1);
            self.owned.push_front((id, user, now + OWNED_FOR));
        }
        Ok(())
    }

    /// Whether a line can go to the host now.
    pub(super) fn has_turn(&self, now: Instant) -> bool {
        self.pick(now).is_some()
    }

    /// The next line for the host.
    pub(super) fn next_line(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (id, place) = self.pick(now)?;
        let program = self.programs.get_mut(&id)?;
        let waiting = program.waiting.remove(place)?;
        let Rights { user, first, .. } = program.rights;
        program.served = self.turns.next(user);
        self.bucket.take(now);
        let line = waiting.line(now)?;
        let (question, program) = (waiting.question, Some(id));
        let (until, was_heard, is_doubted) = (waiting.until, false, false);
        let asked = Asked { question, until, program, user, first, sent: now, was_heard, is_doubted };
        self.asked.insert(asked.question.request.id, asked);
        Some(line)
    }

    /// Whose the host's answer is; nobody's where it was not asked, or its program is gone.
    pub(super) fn heard(&mut self, id: RequestId, is_final: bool) -> Option<ProgramId> {
        let asked = self.asked.get_mut(&id)?;
        asked.was_heard = true;
        let program = asked.program;
        if is_final {
            self.asked.remove(&id);
            for program in self.programs.values_mut() {
                program.waiting.retain(|waiting| waiting.question.request.id != id); // asked twice, answered
            }
        }
        program
    }

    /// The host could not read a line: all that it has not spoken of are asked again, by the same ids.
    pub(super) fn ask_again(&mut self, now: Instant) {
        for asked in self.asked.values().filter(|asked| !asked.was_heard && asked.until > now) {
            if let Some(program) = asked.program.and_then(|id| self.programs.get_mut(&id)) {
                let id = asked.question.request.id;
                program.waiting.retain(|waiting| waiting.question.request.id != id);
                let (question, until) = (asked.question.clone(), asked.until);
                program.waiting.push_front(Waiting { question, until });
            }
        }
    }

    /// The host could not open a signed line, and tells under no id. Those who are to know have one that it has not spoken of;
    /// none of these takes room any more, since any of them may be the one that is never answered.
    pub(super) fn doubt_signed(&mut self) -> Vec<ProgramId> {
        let unheard = self.asked.values_mut().filter(|asked| asked.is_signed_unheard());
        unheard
            .filter_map(|asked| {
                asked.is_doubted = true;
                asked.program
            })
            .collect()
    }

    /// The requests whose time is over before their turn came; they are never asked.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(ProgramId, RequestId)> {
        self.asked.retain(|_, asked| asked.until() > now);
        let mut expired = Vec::new();
        for (program, Program { waiting, .. }) in &mut self.programs {
            let over = waiting.iter().filter(|waiting| waiting.until <= now);
            expired.extend(over.map(|waiting| (*program, waiting.question.request.id)));
            waiting.retain(|waiting| waiting.until > now);
        }
        expired
    }

    /// When to look again though nothing happens.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let waiting = || self.programs.values().flat_map(|program| &program.waiting);
        let ends = waiting().map(|waiting| waiting.until).chain(self.asked.values().map(Asked::until));
        let rooms = self.asked.values().flat_map(Asked::gives_room_at).filter(|at| *at > now);
        let next_tokens = [0, limits::RESERVE].map(|reserve| self.bucket.ready_at(reserve));
        let tokens = next_tokens.into_iter().filter(|at| *at > now && waiting().next().is_some());
        ends.chain(rooms).chain(tokens).min()
    }
}

impl Asked {
    fn is_signed_unheard(&self) -> bool {
        !self.was_heard && self.question.signed.is_some()
    }

    /// When it is not awaited any more.
    fn until(&self) -> Instant {
        let Request { delay, timeout, .. } = self.question.request;
        let until = self.sent + delay + timeout + LATE;
        if self.is_signed_unheard() { until.min(self.sent + KNOWN_UNHEARD) } else { until }
    }

    /// Whether the host may be at it.
    fn takes_room(&self, now: Instant) -> bool {
        !self.is_signed_unheard() || (!self.is_doubted && self.sent + HOLDS_UNHEARD > now)
    }

    /// Whether it is a list that one of this kind has to wait for: the host makes one at a time.
    fn holds_back_list(&self, of_first: bool, now: Instant) -> bool {
        let is_old = self.sent + limits::LIST_OF_OTHERS <= now;
        self.question.request.ask == Ask::List && self.takes_room(now) && (self.first || !of_first || !is_old)
    }

    /// When others may have a turn because of it, though it is not answered.
    fn gives_room_at(&self) -> impl Iterator<Item = Instant> {
        let unheard = self.is_signed_unheard().then(|| self.sent + HOLDS_UNHEARD);
        let is_list_of_others = self.question.request.ask == Ask::List && !self.first;
        unheard.into_iter().chain(is_list_of_others.then(|| self.sent + limits::LIST_OF_OTHERS))
    }
}

impl Waiting {
    /// A newline, which ends whatever half line lies on the way, and the request with the time that is left of it.
    fn line(&self, now: Instant) -> Option<Vec<u8>> {
        let Question { request, signed } = &self.question;
        let left = self.until.saturating_duration_since(now);
        let line = match signed {
            Some(line) => line.clone(),
            // It was read from a line of the same length or a longer one.
            None => {
                let timeout = left.saturating_sub(request.delay).min(request.timeout).max(TIMEOUT_MIN);
                encode_line(&Request { timeout, ..request.clone() }).ok()?
            }
        };
        Some([b"\n", line.as_slice()].concat())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;
