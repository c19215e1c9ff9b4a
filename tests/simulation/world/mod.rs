//! The simulated host: machines, their processes, a libvirtd with its own opinion of them, and a second host.
//!
//! In:  what the agent, guests and fate do. Out: what each of them is told, true or not.
//!
//! Invariant: a [`Run`]'s `alive` and `holds` are the truth. Everything that the agent can learn goes through libvirt's
//! opinion ([`Machine::libvirt`], which may be wrong or old) or through the kernel's (pidfd, pid file, the list of all
//! processes), which may be unsure but never lies.

pub(crate) mod calls;
mod create;
pub(crate) mod effects;
pub(crate) mod hand;
pub(crate) mod machine;
pub(crate) mod moving;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};

use fence_vmchannel_host_agent::hypervisor::Change;
use fence_vmchannel_host_agent::inventory::Hint;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::oracle::Oracle;
use crate::rng::Rng;
use crate::seen::{Coverage, FAULTS, Seen};
use effects::Effects;
use machine::{Machine, Run};

/// What libvirtd does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    Up,
    Hung,
    Down,
}

/// What the world knows of the running agent.
#[derive(Default)]
pub(crate) struct AgentSide {
    /// Which agent it is, counted from 1; 0 while there is none.
    pub(crate) number: u64,
    pub(crate) changes: VecDeque<Change>,
    pub(crate) changed: Arc<Notify>,
    pub(crate) hints: Option<mpsc::Sender<Hint>>,
    pub(crate) stopping: Option<watch::Sender<bool>>,
    /// The same, after it was used.
    pub(crate) kept: Option<watch::Sender<bool>>,
    /// Until when it is held up.
    pub(crate) held_until: u64,
    /// It was killed in the middle of a turn, which ends without any effect.
    pub(crate) is_dying: bool,
}

/// Everything there is.
pub(crate) struct State {
    /// Milliseconds since the beginning.
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    /// How often each fault strikes, in a thousand times.
    pub(crate) rates: [u64; FAULTS],
    pub(crate) coverage: Coverage,
    pub(crate) history: Option<String>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) runs: Vec<Run>,
    pub(crate) wires: Vec<crate::guests::Line>,
    pub(crate) daemon: Daemon,
    /// Whether the agent's connection to libvirt stands, as far as the agent knows.
    pub(crate) connected: bool,
    pub(crate) scan: Option<(u64, BTreeMap<usize, Vec<usize>>)>,
    pub(crate) effects: Effects,
    pub(crate) agent: AgentSide,
    pub(crate) journal: Vec<u8>,
    pub(crate) oracle: Oracle,
}

/// The host, shared by all tasks.
pub(crate) struct World {
    state: Mutex<State>,
    begun: Instant,
    /// Told when an effect is due earlier than known.
    pub(crate) sooner: Notify,
    /// Told when a wire may be plugged in.
    pub(crate) plugs: Notify,
    /// Told when an agent was killed.
    pub(crate) killed: Notify,
}

/// The state, while it is looked at.
pub(crate) struct Held<'a> {
    world: &'a World,
    state: MutexGuard<'a, State>,
}

impl Deref for Held<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.state.effects.is_sooner() {
            self.world.sooner.notify_one();
        }
        if self.state.agent.is_dying {
            self.world.killed.notify_one();
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64, rates: [u64; FAULTS], tells: bool) -> Self {
        let state = State {
            now: 0,
            rng: Rng::new(seed),
            rates,
            coverage: Coverage::default(),
            history: tells.then(String::new),
            machines: Vec::new(),
            runs: Vec::new(),
            wires: Vec::new(),
            daemon: Daemon::Up,
            connected: true,
            scan: None,
            effects: Effects::default(),
            agent: AgentSide::default(),
            journal: Vec::new(),
            oracle: Oracle::default(),
        };
        Self {
            state: Mutex::new(state),
            begun: Instant::now(),
            sooner: Notify::new(),
            plugs: Notify::new(),
            killed: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn at(&self, millis: u64) -> Instant {
        self.begun + std::time::Duration::from_millis(millis)
    }

    pub(crate) fn lock(&self) -> Held<'_> {
        let mut state = self.state.lock().unwrap();
        state.now = self.now();
        Held { world: self, state }
    }
}

impl State {
    /// Writes a line of the history, if anybody wants one.
    pub(crate) fn tell(&mut self, who: &str, what: impl FnOnce(&Self) -> String) {
        if self.history.is_none() || self.oracle.violation.is_some() {
            return;
        }
        let (what, now) = (what(self), self.now);
        if let Some(history) = &mut self.history {
            writeln!(history, "{:>6}.{:03}  {who:<9} {what}", now / 1000, now % 1000).unwrap();
        }
    }

    pub(crate) fn saw(&mut self, what: Seen) {
        self.coverage.saw(what);
    }

    /// Whether this fault strikes now.
    pub(crate) fn strikes(&mut self, fault: Seen) -> bool {
        let rate = self.rates[fault as usize];
        let strikes = rate > 0 && self.rng.chance(rate);
        if strikes {
            self.saw(fault);
        }
        strikes
    }

    /// Whether this world has this fault at all.
    pub(crate) fn has(&self, fault: Seen) -> bool {
        self.rates[fault as usize] > 0
    }

    pub(crate) fn name(&self, machine: usize) -> &str {
        &self.machines[machine].name
    }

    /// libvirt tells the agent that something happened, and the hook may leave a note.
    pub(crate) fn announce(&mut self, machine: usize) {
        self.announce_that(machine, &effects::Effect::Heard(machine));
    }

    pub(crate) fn announce_that(&mut self, machine: usize, event: &effects::Effect) {
        self.note(machine);
        if self.strikes(Seen::EventLost) || !self.connected {
            return;
        }
        let mut times = 1;
        if self.strikes(Seen::EventDoubled) {
            times = 2;
        }
        for _ in 0..times {
            let late = self.strikes(Seen::EventLate);
            let after = if late { self.rng.between(50, 5000) } else { self.rng.between(0, 3) };
            self.later(after, event.clone());
        }
    }

    fn note(&mut self, machine: usize) {
        if self.strikes(Seen::NoteLost) {
            return;
        }
        let hint = Hint::Changed(self.machines[machine].uuid);
        if let Some(hints) = &self.agent.hints {
            let _ = hints.try_send(hint);
        }
    }

    /// The agent hears of a change.
    pub(crate) fn push_change(&mut self, change: Change) {
        if self.agent.number > 0 {
            self.agent.changes.push_back(change);
            self.agent.changed.notify_one();
        }
    }
}
