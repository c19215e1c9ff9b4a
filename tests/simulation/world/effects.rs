//! What is going to happen: each effect has its time.
//!
//! Invariant: effects of the same millisecond happen in the order in which they were decided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fence_vmchannel_host_agent::hypervisor::Change;
use tokio::time::timeout_at;

use super::{Daemon, State, World};

/// Something that will happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// A process gets SIGTERM.
    Term(usize),
    /// A process gets SIGKILL, from whom.
    Kill(usize, &'static str),
    /// A process leaves D state.
    Thaw(usize),
    /// libvirt notices that a machine's process is gone.
    Notice(usize),
    /// libvirt starts a machine, unless it holds it for running.
    Start(usize, &'static str),
    /// libvirt comes to what an agent told it at that time.
    StartLate(usize, u64, u64),
    /// A migration goes one step further.
    Move(usize, u64),
    /// The agent hears of a change of a machine.
    Heard(usize),
    /// The agent hears that a machine is in the last moments of its migration.
    Leaves(usize),
    /// The agent's connection stands, or not.
    Connected(bool),
    /// libvirtd goes on.
    Back,
    /// The agent with this number ends.
    Ends(u64),
    /// A guest reads again.
    Reads(usize),
}

/// All effects to come.
#[derive(Default)]
pub(crate) struct Effects {
    heap: BinaryHeap<Reverse<(u64, u64, Effect)>>,
    count: u64,
    sooner: bool,
}

impl Effects {
    /// Whether the first of them is another one than it was.
    pub(super) fn is_sooner(&mut self) -> bool {
        std::mem::take(&mut self.sooner)
    }

    /// Whether something is to end this process.
    pub(super) fn is_to_end(&self, of: usize) -> bool {
        let ends = |effect: &Effect| matches!(effect, Effect::Kill(run, "libvirt") if *run == of);
        self.heap.iter().any(|Reverse((.., effect))| ends(effect))
    }

    fn due(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }
}

impl State {
    /// This will happen so many milliseconds from now.
    pub(crate) fn later(&mut self, after: u64, effect: Effect) {
        let at = self.now + after;
        let effects = &mut self.effects;
        effects.sooner |= effects.due().is_none_or(|due| at < due);
        effects.count += 1;
        effects.heap.push(Reverse((at, effects.count, effect)));
    }

    fn happen(&mut self, effect: &Effect) {
        match *effect {
            Effect::Term(run) => self.term(run),
            Effect::Kill(run, by) => self.kill(run, by),
            Effect::Thaw(run) => self.thaw(run),
            Effect::Notice(machine) => self.notice(machine),
            Effect::Start(machine, by) => self.start(machine, by),
            Effect::StartLate(machine, agent, begun) => {
                self.starts_late(machine, agent, begun);
                self.start(machine, "agent, late");
            }
            Effect::Move(machine, token) => self.move_on(machine, token),
            Effect::Heard(machine) => self.push_change(Change::Domain(self.machines[machine].uuid)),
            Effect::Leaves(machine) => self.push_change(Change::Leaves(self.machines[machine].uuid)),
            Effect::Connected(connected) => self.connect(connected),
            Effect::Back => self.back(),
            Effect::Ends(agent) if self.agent.number == agent => self.kill_agent("at its end"),
            Effect::Ends(_) => {}
            Effect::Reads(wire) => self.wires[wire].wire.lock().unwrap().unstick(),
        }
    }

    fn connect(&mut self, connected: bool) {
        if self.connected == connected || connected && self.daemon != Daemon::Up {
            return;
        }
        if !connected && self.daemon == Daemon::Up {
            return;
        }
        self.connected = connected;
        self.tell("agent", |_| if connected { "is connected to libvirt" } else { "has lost libvirt" }.into());
        self.push_change(if connected { Change::Everything } else { Change::Lost });
    }

    fn back(&mut self) {
        self.daemon = Daemon::Up;
        self.tell("libvirtd", |_| "is back".into());
        for machine in 0..self.machines.len() {
            self.later(0, Effect::Notice(machine));
        }
        let after = self.rng.between(10, 1500);
        self.later(after, Effect::Connected(true));
    }
}

/// Lets everything happen in its time. Runs until it is dropped.
pub(crate) async fn happen(world: std::sync::Arc<World>) {
    loop {
        let due = {
            let mut state = world.lock();
            while let Some(at) = state.effects.due().filter(|at| *at <= state.now) {
                let Some(Reverse((_, _, effect))) = state.effects.heap.pop() else { break };
                debug_assert!(at <= state.now);
                state.happen(&effect);
            }
            state.effects.is_sooner();
            state.effects.due()
        };
        world.plugs.notify_waiters();
        match due {
            Some(due) => drop(timeout_at(world.at(due), world.sooner.notified()).await),
            None => world.sooner.notified().await,
        }
    }
}
