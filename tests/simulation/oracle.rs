//! Judges everything that leaves the agent, at the moment in which it leaves, by the truth.
//!
//! In:  requests as they are asked, actions as they are done, replies as they leave. Out: the first thing that is wrong.
//!
//! Invariant: it knows nothing of how the agent works, only what it promises: docs/simulation.md lists the rules.

mod deeds;
mod known;
mod words;

use std::collections::BTreeMap;

use fence_vmchannel_protocol::{
    Ask, Body, Decoder, Evidence, Frame, Item, Power, PowerState, Reason, Reply, Request, RequestId, Ruling,
    Verdict,
};

use self::known::Known;
use self::words::{listed, short, target_of, told};
use crate::fate::HELD_UP;
use crate::seen::Seen;
use crate::world::State;

/// How old what the agent saw may be when it says so: a look at all processes may take a second.
const LOOK: u64 = 1100;
/// How long libvirt may keep the agent from knowing how a target ended.
const CONFIRM: u64 = 8_100;
/// How much older than the question what is said to be on may be: who joins an order joins its last look.
const JOINED: u64 = 4_100;
/// How much later than the client's time a verdict may leave: clocks tick in milliseconds.
const SLACK: u64 = 5;
/// When an answer that is no order's must be there: libvirt's deadlines and the patience of looks.
const ANSWER: u64 = 20_000;

/// What a verdict says, as far as repeats must agree.
type Essence = (Ruling, Option<PowerState>, Option<Evidence>);

/// A request on one connection.
struct Due {
    request: Request,
    /// When it was written last, and when the agent may begin with it.
    begins: u64,
    /// When it was written first since its last answer.
    oldest: u64,
    sent: u32,
    answered: u32,
    is_due: bool,
}

#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) violation: Option<String>,
    due: BTreeMap<(usize, RequestId), Due>,
    known: BTreeMap<(usize, RequestId), Known>,
    told: BTreeMap<usize, usize>,
    /// How often each agent stopped and killed each run.
    acts: BTreeMap<(&'static str, usize, u64), usize>,
    /// When each run was first stopped or killed by an agent.
    condemned: BTreeMap<usize, u64>,
    /// Which run had which stopped, by which agent.
    fenced: Vec<(usize, usize, u64)>,
    /// When whose request was told that this machine's process is gone.
    gone: BTreeMap<usize, (u64, RequestId)>,
    /// When this was asked about a machine: to be called off, as was then heard for the first time.
    off: BTreeMap<usize, u64>,
    /// Something that must be remembered could not be written.
    pub(crate) forgot: bool,
}

impl Oracle {
    /// How many requests of a guest were answered.
    fn told_to(&self, asker: usize) -> usize {
        self.told.get(&asker).copied().unwrap_or_default()
    }
}

impl State {
    /// Something is wrong; only the first of all is told.
    pub(crate) fn wrong(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.oracle.violation.is_none() {
            let what = what(self);
            self.tell("ORACLE", |_| what.clone());
            self.oracle.violation = Some(what);
        }
    }

    /// A guest writes a request.
    pub(crate) fn asked(&mut self, line: usize, request: &Request, target: Option<usize>) {
        let (now, asker, by) = (self.now, self.wires[line].machine, self.wires[line].run);
        let delays = matches!(request.ask, Ask::Power(..)); // nothing else does
        let begins = now + if delays { u64::try_from(request.delay.as_millis()).unwrap() } else { 0 };
        let fresh =
            Due { request: request.clone(), begins, oldest: begins, sent: 0, answered: 0, is_due: true };
        let due = self.oracle.due.entry((line, request.id)).or_insert(fresh);
        // Of who does not read, an answer to an earlier one may still be on its way.
        let is_open = due.is_due || due.sent > due.answered && !self.wires[line].is_punctual(now);
        due.oldest = if is_open { due.oldest } else { begins };
        (due.begins, due.is_due) = (begins, true);
        due.sent += 1;
        if let Ask::Power(power, _) = request.ask {
            let taken_late = begins > now || self.has(Seen::AgentHeldUp);
            let made = self.oracle.told_to(asker);
            let known =
                self.oracle.known.entry((asker, request.id)).or_insert(Known::new(by, power, target, begins));
            known.begins = begins;
            // What was refused, or is no longer kept when it is read, is asked for anew.
            let floods = self.wires[line].slow_until == u64::MAX || taken_late;
            let is_forgotten = known.told.is_some_and(|(was, by)| {
                // The journal keeps only what acted.
                made > known.told_at + 40
                    || floods
                    || by != self.agent.number && was.2 != Some(Evidence::ProcessGone)
            });
            if is_forgotten || known.told.is_some_and(|(was, _)| !is_kept(was)) {
                (known.is_open, known.gave_up) = (true, None);
            }
        }
        let (id, name) = (request.id, self.name(asker).to_owned());
        let delay = request.delay.as_millis();
        self.tell("guest", |_| {
            let of = target_of(&request.ask);
            let timeout = request.timeout.as_millis();
            format!(
                "{name} asks {} {of} (line {line}, id {}, delay {delay} ms, timeout {timeout} ms)",
                request.ask.op(),
                short(id)
            )
        });
    }

    /// Lines leave the agent.
    pub(crate) fn heard(&mut self, line: usize, bytes: &[u8]) {
        let (mut decoder, mut rest) = (Decoder::default(), bytes);
        while let Some(frame) = decoder.push(&mut rest) {
            let reply = match &frame {
                Frame::Plain(json) => Reply::parse(json).ok(),
                Frame::Signed(_) | Frame::Legacy(_) | Frame::Noise(_) => None,
            };
            match reply {
                Some(reply) => self.replied(line, &reply),
                None => self.wrong(|_| format!("the agent wrote what is no reply: {frame:?}")),
            }
        }
    }

    fn replied(&mut self, line: usize, reply: &Reply) {
        let name = self.name(self.wires[line].machine).to_owned();
        self.tell("agent", |_| {
            let what = match &reply.body {
                Body::Verdict(verdict) => told(verdict),
                Body::Progress(phase, _) => format!("{phase}"),
                Body::Items(items, _) => listed(items),
                Body::Hello(_) => "hello".into(),
                Body::Whoami(_) => "whoami".into(),
                Body::HostStatus(_) => "host-status".into(),
            };
            format!("tells {name} (line {line}, id {}): {what}", short(reply.id))
        });
        if reply.id == RequestId::NONE {
            let is_request =
                matches!(&reply.body, Body::Verdict(v) if v.ruling == Ruling::Refused(Reason::BadRequest));
            return self.saw(if is_request { Seen::BadRequest } else { Seen::BadFrame });
        }
        let Some(due) = self.oracle.due.get_mut(&(line, reply.id)) else {
            return self
                .wrong(|_| format!("a reply to {} which was never asked on line {line}", short(reply.id)));
        };
        if reply.is_final() {
            due.answered += 1;
            due.is_due = false;
        }
        let (request, begins, oldest) = (due.request.clone(), due.begins, due.oldest);
        if due.answered > due.sent {
            return self.wrong(|_| format!("more verdicts than requests for {}", short(reply.id)));
        }
        match &reply.body {
            Body::Verdict(verdict) => self.judge(line, &request, (begins, oldest), verdict),
            Body::Items(items, _) => self.judge_list(line, oldest, items),
            Body::Progress(..) => self.saw(Seen::Progress),
            Body::Hello(_) | Body::Whoami(_) | Body::HostStatus(_) => {}
        }
    }

    fn judge_list(&mut self, line: usize, begins: u64, items: &[Item]) {
        self.saw(Seen::Listed);
        let asker = self.wires[line].machine;
        for item in items {
            let Some(machine) = self.machines.iter().position(|machine| machine.uuid == item.uuid) else {
                continue;
            };
            if self.machines[machine].cluster != self.machines[asker].cluster {
                self.wrong(|s| format!("the list shows {}, which is another cluster's", s.name(machine)));
            }
            match item.state {
                Some(PowerState::Off) => {
                    self.saw(Seen::ListedOff);
                    self.must_be_off(machine, begins.saturating_sub(self.last_word()), "the list");
                }
                Some(PowerState::On) => self.must_be_here(machine, begins, "the list"),
                None => {}
            }
        }
    }

    fn judge(&mut self, line: usize, request: &Request, (begins, oldest): (u64, u64), verdict: &Verdict) {
        self.note_reason(verdict);
        let asker = self.wires[line].machine;
        let target = self.machines.iter().position(|machine| Some(machine.uuid) == verdict.uuid);
        if let Some(target) = target.filter(|_| verdict.ruling == Ruling::Done)
            && self.machines[target].cluster != self.machines[asker].cluster
        {
            return self.wrong(|s| format!("something was told of {}, another cluster's", s.name(target)));
        }
        match (&request.ask, target) {
            (Ask::Status(_), Some(target)) => match verdict.state {
                Some(PowerState::Off) => {
                    self.saw(Seen::SaidOff);
                    self.must_be_off(target, oldest.saturating_sub(self.last_word()), "status");
                }
                Some(PowerState::On) => {
                    self.saw(Seen::SaidOn);
                    self.must_be_here(target, oldest, "status");
                }
                None => {}
            },
            (Ask::Power(power, _), _) => self.judge_power(line, request, (*power, target), begins, verdict),
            _ => {}
        }
    }

    fn judge_power(
        &mut self,
        line: usize,
        request: &Request,
        (power, target): (Power, Option<usize>),
        begins: u64,
        verdict: &Verdict,
    ) {
        let timeout = u64::try_from(request.timeout.as_millis()).unwrap();
        let is_punctual = self.wires[line].is_punctual(self.now);
        // A guest that asks a lot is read later, and its time counts from then.
        let is_busy = self.oracle.is_busy(line, begins);
        let was_taken = !is_busy && !matches!(verdict.ruling, Ruling::Refused(_));
        if is_punctual && was_taken && self.now > begins + timeout + self.slack() {
            self.wrong(|_| format!("the verdict of {} comes after the client's time", short(request.id)));
        }
        let asker = self.wires[line].machine;
        let made = self.oracle.told_to(asker);
        let essence = (verdict.ruling, verdict.state, verdict.evidence);
        let agent = self.agent.number;
        let (floods, runs) = (self.wires[line].slow_until == u64::MAX, self.runs.len());
        let Some(known) = self.oracle.known.get_mut(&(asker, request.id)) else { return };
        let (first, before) = (known.first, known.told);
        // "Ask again" is no verdict of the order.
        let is_later = match verdict.ruling {
            Ruling::Failed(Reason::Stopping | Reason::Busy) => return,
            Ruling::Refused(Reason::Busy) if verdict.detail.is_none() => return, // too much waits on this connection
            Ruling::Failed(_) => false,
            // Nobody is told anything of what libvirt knows no more.
            Ruling::Refused(Reason::NotPermitted) => known.target.is_some_and(|target| {
                !self.machines[target].persistent || self.machines[target].libvirt.is_none()
            }),
            Ruling::Refused(_) | Ruling::Done => false,
        };
        if before.is_some_and(|(was, _)| is_kept(was)) && is_later {
            return;
        }
        known.told = Some((essence, agent));
        if before.is_none_or(|(was, _)| !is_kept(was)) {
            known.told_at = made;
            *self.oracle.told.entry(asker).or_default() += 1;
        }
        let made_before = known.told_at;
        let goes_on = verdict.ruling == Ruling::Failed(Reason::Timeout)
            || verdict.evidence.is_some() && verdict.state.is_none();
        // Of several that were written one after the other, the last may be the one that is taken.
        let is_last = self.oracle.due.get(&(line, request.id)).is_none_or(|due| due.answered == due.sent);
        // Or it is read when the verdict is no longer kept.
        known.is_open &= goes_on || !is_last && (!is_kept(essence) || floods);
        known.gave_up = known.gave_up.or(goes_on.then_some(runs));
        match before {
            Some((was, by))
                if made - made_before < 50
                    && is_kept(was)
                    && (by == agent || was.2 == Some(Evidence::ProcessGone)) =>
            {
                return self.judge_repeat(request, was, by, essence);
            }
            _ => {}
        }
        let Some(target) = target.filter(|_| verdict.ruling == Ruling::Done) else { return };
        match (power, verdict.state, verdict.evidence) {
            (Power::Off, Some(PowerState::Off), Some(evidence)) => {
                self.saw(match evidence {
                    Evidence::ProcessGone => Seen::OffProcessGone,
                    Evidence::NeverRanHere | Evidence::OwnerSays | Evidence::HostFenced => Seen::OffNeverRan,
                });
                if first == begins {
                    self.oracle.off.insert(target, begins); // a repeat tells of what was
                }
                let last = self.oracle.gone.insert(target, (self.now, request.id));
                if last.is_some_and(|(at, other)| at == self.now && other != request.id) {
                    self.saw(Seen::Joined);
                }
                // A repeat may tell of an order that ended long ago.
                let look = if self.calls_hang() { LOOK + CONFIRM } else { LOOK };
                let since = if first == begins { first.max(self.now.saturating_sub(look)) } else { first };
                let since = if is_punctual { since } else { first };
                self.must_be_off(target, since, "off");
            }
            (Power::Reboot, state, Some(_)) => {
                self.saw(if state.is_some() { Seen::Rebooted } else { Seen::OffNotStarted });
                self.must_be_off(target, first, "reboot");
            }
            (Power::On, Some(PowerState::On), _) => {
                self.saw(Seen::StartedOn);
                self.must_be_here(target, first.saturating_sub(JOINED), "on");
            }
            _ => self.wrong(|_| format!("done without evidence: {}", told(verdict))),
        }
    }

    fn judge_repeat(&mut self, request: &Request, was: Essence, by: u64, is: Essence) {
        // What libvirt or the policy no longer knows is not told of again.
        if was == is {
            let restarted = by != self.agent.number;
            self.saw(if restarted { Seen::RepeatEqualAfterRestart } else { Seen::RepeatEqual });
        } else if !self.oracle.forgot {
            self.wrong(|_| format!("{} was told {was:?} and, asking again, {is:?}", short(request.id)));
        }
    }

    /// How late a verdict may be: what is read late is answered late.
    fn slack(&self) -> u64 {
        SLACK + if self.has(Seen::AgentHeldUp) { 2 * HELD_UP } else { 0 }
    }

    fn must_be_off(&mut self, machine: usize, since: u64, what: &str) {
        let until = self.free_until(machine);
        if until < since {
            self.wrong(|s| {
                format!(
                    "FALSE OFF: {what} says that {} is off, but it ran all the time from {since} ms to {} ms",
                    s.name(machine),
                    s.now
                )
            });
        }
    }

    fn must_be_here(&mut self, machine: usize, since: u64, what: &str) {
        let since = since.saturating_sub(100);
        if self.here_until(machine) < since {
            self.wrong(|s| {
                format!("{what} says that {} is on, but it was not here since {since} ms", s.name(machine))
            });
        }
    }

    /// How many requests on living lines have no answer.
    pub(crate) fn open_requests(&self) -> usize {
        let is_open = |(line, _): &(usize, RequestId)| !self.wires[*line].wire.lock().unwrap().closed;
        self.oracle.due.iter().filter(|(key, due)| due.is_due && is_open(key)).count()
    }

    /// Nobody may be left without an answer.
    pub(crate) fn judge_end(&mut self) {
        let lost = self.oracle.due.iter().find(|((line, _), due)| {
            let timeout = u64::try_from(due.request.timeout.as_millis()).unwrap();
            let patience =
                if matches!(due.request.ask, Ask::Power(..)) { timeout + self.slack() } else { ANSWER };
            let is_late = self.now > due.begins + patience && self.wires[*line].is_punctual(self.now);
            due.is_due && is_late && !self.wires[*line].wire.lock().unwrap().closed
        });
        if let Some(((line, id), due)) = lost {
            let text = format!("{} {} on line {line} was never answered", due.request.ask.op(), short(*id));
            self.wrong(|_| text);
        }
    }
}

/// Whether a verdict is one that repeats must get again: an order's end.
fn is_kept((ruling, ..): Essence) -> bool {
    match ruling {
        Ruling::Done => true,
        Ruling::Refused(_) => false,
        Ruling::Failed(reason) => !matches!(reason, Reason::Busy | Reason::Stopping),
    }
}
