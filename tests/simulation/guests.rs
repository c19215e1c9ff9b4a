//! The guests: what they ask, and how they misbehave.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fence_vmchannel_protocol::{Ask, Method, Power, Request, RequestId, Target, encode_line};
use tokio::time::sleep;

use crate::port::Wire;
use crate::seen::Seen;
use crate::world::effects::Effect;
use crate::world::{State, World};

/// A guest's connection.
pub(crate) struct Line {
    pub(crate) machine: usize,
    pub(crate) run: usize,
    pub(crate) wire: Arc<Mutex<Wire>>,
    /// Until when what it hears or asks may be late, by its own fault.
    pub(crate) slow_until: u64,
    /// When the agent will have read all that was asked, by its rate.
    pub(crate) read_at: u64,
}

impl Line {
    /// Whether the agent's promises of time hold on it: not while its guest does not read, or floods.
    pub(crate) fn is_punctual(&self, now: u64) -> bool {
        now > self.slow_until
    }
}

/// How guests behave in one world.
#[derive(Clone)]
pub(crate) struct Habits {
    /// How long they ask.
    pub(crate) until: u64,
    /// The longest pause between two requests.
    pub(crate) pause: u64,
    /// How often each thing is asked: off, reboot, on, status, list, others.
    pub(crate) weights: [u64; 6],
    /// How often a request is one of before, is delayed, is about anybody.
    pub(crate) repeats: u64,
    pub(crate) delays: u64,
    pub(crate) strays: u64,
    pub(crate) mutual: u64,
    /// All that was asked, and by which run: only a run knows its own ids.
    pub(crate) asked: Vec<(usize, Request, Option<usize>)>,
}

/// Lets guests ask until their time is over.
pub(crate) async fn ask(world: Arc<World>, mut habits: Habits) {
    while world.now() < habits.until {
        let pause = {
            let mut state = world.lock();
            let lines = state.open_lines();
            if let Some(line) = state.rng.pick(&lines) {
                state.act_as_guest(line, &lines, &mut habits);
            }
            if state.rng.chance(250) { 0 } else { state.rng.between(1, habits.pause) }
        };
        sleep(Duration::from_millis(pause)).await;
    }
}

impl State {
    /// The connections of guests that run.
    fn open_lines(&self) -> Vec<usize> {
        let is_open = |line: &Line| {
            let run = &self.runs[line.run];
            run.alive && !run.waits && run.holds && !line.wire.lock().unwrap().closed
        };
        (0..self.wires.len()).filter(|line| is_open(&self.wires[*line])).collect()
    }

    fn act_as_guest(&mut self, line: usize, lines: &[usize], habits: &mut Habits) {
        if self.strikes(Seen::NotReading) {
            self.wires[line].wire.lock().unwrap().stuck = true;
            let millis = self.rng.between(100, 40_000);
            let slow_until = self.wires[line].slow_until.max(self.now + millis + 100);
            self.wires[line].slow_until = slow_until;
            self.later(millis, Effect::Reads(line));
            self.tell("guest", |_| format!("does not read line {line} for {millis} ms"));
        }
        if self.rng.chance(20) {
            self.saw(Seen::Garbage);
            let garbage: &[u8] =
                [&b"\n"[..], b"hello?\n", b"fv2 crc:00000000 {}\n", b"fv2 ", b"\nfv2 crc:297bd0aa {}\n"]
                    [self.rng.below(5)];
            self.wires[line].wire.lock().unwrap().push(garbage);
            return;
        }
        if self.rng.chance(habits.mutual)
            && let Some(other) = self.rng.pick(lines)
            && self.wires[other].machine != self.wires[line].machine
        {
            self.saw(Seen::Mutual);
            for (one, target) in [(line, other), (other, line)] {
                let target = self.wires[target].machine;
                let ask = Ask::Power(Power::Off, self.target_named(target));
                self.begin_request(one, ask, Some(target), habits);
            }
            return;
        }
        if self.rng.chance(habits.repeats) && !habits.asked.is_empty() {
            let run = self.wires[line].run;
            let own: Vec<usize> = (0..habits.asked.len()).filter(|at| habits.asked[*at].0 == run).collect();
            if let Some(again) = self.rng.pick(&own) {
                self.saw(Seen::Repeated);
                let (_, request, target) = habits.asked[again].clone();
                self.send(line, &request, target);
            }
            return;
        }
        let (ask, target) = self.some_ask(line, habits);
        self.begin_request(line, ask, target, habits);
    }

    fn some_ask(&mut self, line: usize, habits: &Habits) -> (Ask, Option<usize>) {
        let me = self.wires[line].machine;
        let anybody = self.rng.chance(habits.strays);
        let cluster = self.machines[me].cluster;
        let fits = |at: &usize| anybody || *at != me && self.machines[*at].cluster == cluster;
        let some: Vec<usize> = (0..self.machines.len()).filter(fits).collect();
        let target = self.rng.pick(&some).unwrap_or(me);
        if self.machines[target].cluster != cluster {
            self.saw(Seen::Foreign);
        }
        let named = self.target_named(target);
        let mut left = self.rng.below(usize::try_from(habits.weights.iter().sum::<u64>()).unwrap()) as u64;
        let kind = habits.weights.iter().position(|weight| {
            let hit = left < *weight;
            left = left.saturating_sub(*weight);
            hit
        });
        match kind.unwrap_or(3) {
            0 => (Ask::Power(Power::Off, named), Some(target)),
            1 => (Ask::Power(Power::Reboot, named), Some(target)),
            2 => (Ask::Power(Power::On, named), Some(target)),
            3 => (Ask::Status(named), Some(target)),
            4 => (Ask::List, None),
            _ => ([Ask::Hello, Ask::Whoami, Ask::Monitor][self.rng.below(3)].clone(), None),
        }
    }

    fn target_named(&mut self, target: usize) -> Target {
        let of = &self.machines[target];
        let (uuid, name) = (of.uuid, of.name.parse().unwrap());
        if self.rng.chance(300) { Target::Uuid(uuid) } else { Target::Name(name) }
    }

    fn begin_request(&mut self, line: usize, ask: Ask, target: Option<usize>, habits: &mut Habits) {
        let number = u128::try_from(habits.asked.len()).unwrap() + 1;
        let delay = if self.rng.chance(habits.delays) {
            self.saw(Seen::Delayed);
            self.rng.between(1, 8000)
        } else {
            0
        };
        let is_stop = matches!(ask, Ask::Power(Power::Off | Power::Reboot, _));
        let short = if is_stop { [1000, 6000, 8000] } else { [100, 1000, 5000] };
        let timeout = [short.as_slice(), &[20_000, 55_000, 55_000, 55_000]].concat()[self.rng.below(7)];
        let request = Request {
            id: RequestId::from_random(number.to_be_bytes()).unwrap(),
            ask,
            timeout: Duration::from_millis(timeout),
            delay: Duration::from_millis(delay),
            method: if self.rng.chance(10) { Method::Cycle } else { Method::OnOff },
        };
        habits.asked.push((self.wires[line].run, request.clone(), target));
        self.send(line, &request, target);
    }

    pub(crate) fn send(&mut self, line: usize, request: &Request, target: Option<usize>) {
        self.asked(line, request, target);
        let (now, of) = (self.now, &mut self.wires[line]);
        of.read_at = of.read_at.max(now) + 50;
        if of.read_at > now + 35 * 50 {
            of.slow_until = u64::MAX; // it floods: who knows when what is read
        }
        let bytes = [b"\n".to_vec(), encode_line(request).unwrap()].concat(); // as every client begins
        self.wires[line].wire.lock().unwrap().push(&bytes);
    }
}
