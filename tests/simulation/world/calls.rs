//! What becomes of libvirt's calls, and what a look at all processes finds.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::CallError;
use uuid::Uuid;

use super::{Daemon, State};
use crate::fate::HELD_UP;
use crate::seen::Seen;

/// What becomes of a call.
pub(super) enum Fate {
    Never,
    Fails(u64, CallError),
    Answers(u64),
}

pub(super) fn deadline(millis: u64) -> CallError {
    CallError::Deadline(Duration::from_millis(millis))
}

pub(super) fn gone() -> CallError {
    CallError::Unreachable("no libvirtd".into())
}

impl State {
    /// Whether libvirt's answers may take seconds.
    pub(crate) fn calls_hang(&self) -> bool {
        [Seen::CallHangs, Seen::CallIsLate, Seen::LibvirtHangs].into_iter().any(|fault| self.has(fault))
    }

    /// Whether the agent hears soon of whatever happens while libvirt is there.
    pub(crate) fn hears_everything(&self) -> bool {
        !self.hears_late() && !self.has(Seen::AgentHeldUp)
    }

    /// Whether events or calls may be lost or late.
    fn hears_late(&self) -> bool {
        let faults = [
            Seen::EventLost,
            Seen::EventLate,
            Seen::CallFails,
            Seen::CallHangs,
            Seen::CallIsLate,
            Seen::CallIsBusy,
            Seen::LibvirtHangs,
        ];
        faults.into_iter().any(|fault| self.has(fault))
    }

    /// How old libvirt's last word may be, which `status` and `list` go by: where events get lost, as old as the last
    /// listing that came through.
    pub(crate) fn last_word(&self) -> u64 {
        let held_up = if self.has(Seen::AgentHeldUp) { 2 * HELD_UP } else { 0 };
        held_up + if self.hears_late() || self.has(Seen::LibvirtDies) { 62_000 } else { 100 }
    }

    /// Whether what this agent does has an effect.
    pub(crate) fn may_act(&self, agent: u64) -> bool {
        self.agent.number == agent && !self.agent.is_dying
    }

    pub(super) fn fate(&mut self, agent: u64, most: u64) -> Fate {
        if !self.may_act(agent) {
            return Fate::Never;
        }
        match self.daemon {
            Daemon::Up => {}
            Daemon::Hung if self.connected => return Fate::Fails(most, deadline(most)),
            Daemon::Hung => return Fate::Fails(0, gone()),
            Daemon::Down => return Fate::Fails(self.rng.between(0, 3), gone()),
        }
        if self.strikes(Seen::CallHangs) {
            Fate::Fails(most, deadline(most))
        } else if self.strikes(Seen::CallFails) {
            Fate::Fails(self.rng.between(0, 50), CallError::Failed("for some reason".into()))
        } else if self.strikes(Seen::CallIsBusy) {
            Fate::Fails(0, CallError::Busy)
        } else if self.strikes(Seen::CallIsLate) {
            Fate::Answers(self.rng.between(10, most.min(5000) - 1))
        } else {
            Fate::Answers(self.rng.between(0, 5))
        }
    }

    pub(super) fn machine(&self, uuid: Uuid) -> Option<usize> {
        self.machines.iter().position(|machine| machine.uuid == uuid)
    }

    pub(super) fn scan(&mut self) -> std::collections::BTreeMap<usize, Vec<usize>> {
        let mut found = std::collections::BTreeMap::<usize, Vec<usize>>::new();
        for (number, run) in self.runs.iter().enumerate().filter(|(_, run)| run.alive && run.here) {
            found.entry(run.machine).or_default().push(number);
        }
        found
    }
}
