//! Judges what the agent does: nothing that nobody asked for, nothing for a condemned guest.

use fence_vmchannel_host_agent::policy::Permit;
use fence_vmchannel_protocol::Power;

use super::known::Known;
use crate::seen::Seen;
use crate::world::{Daemon, State};

impl State {
    /// The agent is about to have libvirt stop a machine; whether that has an effect.
    pub(crate) fn agent_stops(&mut self, agent: u64, permit: &Permit) -> bool {
        let Some(machine) = self.machines.iter().position(|machine| machine.uuid == permit.target()) else {
            return true;
        };
        let run = self.machines[machine].pid_file.filter(|run| self.runs[*run].alive);
        self.act(agent, "stops", machine, run, Some(permit))
    }

    /// The agent is about to have libvirt start a machine.
    pub(crate) fn agent_starts(&mut self, agent: u64, permit: &Permit) -> bool {
        let Some(machine) = self.machines.iter().position(|machine| machine.uuid == permit.target()) else {
            return true;
        };
        self.act(agent, "starts", machine, None, Some(permit))
    }

    /// The agent sends SIGKILL.
    pub(crate) fn agent_kills(&mut self, agent: u64, run: usize) -> bool {
        let machine = self.runs[run].machine;
        self.act(agent, "kills", machine, Some(run), None)
    }

    /// libvirt does at last what the agent told it to: not after an `off` that the same agent called done meanwhile.
    pub(crate) fn starts_late(&mut self, machine: usize, by: u64, begun: u64) {
        self.machines[machine].starts_late.retain(|call| *call != (by, begun));
        if let Some(asked) = self.oracle.off.get(&machine).copied()
            && by == self.agent.number
            && asked > begun
            && self.daemon == Daemon::Up
            && self.machines[machine].libvirt.is_some_and(|known| !known.active)
        {
            self.wrong(|s| {
                format!("{} starts by a call of before the `off` of {asked} ms was asked", s.name(machine))
            });
        }
    }

    fn act(
        &mut self,
        agent: u64,
        what: &'static str,
        machine: usize,
        run: Option<usize>,
        permit: Option<&Permit>,
    ) -> bool {
        if !self.may_act(agent) {
            return false;
        }
        let dies = self.strikes(Seen::AgentDiesActing);
        if dies && self.rng.chance(500) {
            self.kill_agent("before it acts");
            return false;
        }
        let asker =
            permit.map_or_else(String::new, |permit| format!(" for {}", permit.asker().name().as_str()));
        self.tell("agent", |s| format!("{what} {} (run {run:?}){asker}", s.name(machine)));
        self.must_be_asked_for(what, machine, run, permit);
        if let Some(run) = run {
            let count = self.oracle.acts.entry((what, run, agent)).or_default();
            *count += 1;
            let count = *count;
            let is_about = |known: &&Known| known.target == Some(machine) && known.power != Power::On;
            // libvirt is told to stop a machine, not a process: once for each that it lost sight of.
            // Nor may it be the one that the agent saw, if somebody restarted it.
            let processes = if self.has(Seen::LosesSight) { 4 } else { 2 };
            if count > processes * self.oracle.known.values().filter(is_about).count() {
                self.wrong(|_| format!("the agent {what} run {run} {count} times, which nobody asked for"));
            }
            let now = self.now;
            self.oracle.condemned.entry(run).or_insert(now);
        }
        if dies {
            self.kill_agent("while it acts");
        }
        true
    }

    /// Somebody who may must have asked for it, and not be condemned.
    fn must_be_asked_for(&mut self, what: &str, machine: usize, run: Option<usize>, permit: Option<&Permit>) {
        let starts = what == "starts";
        let asker = permit.and_then(|permit| {
            self.machines.iter().position(|machine| machine.uuid == permit.asker().uuid())
        });
        if let Some(asker) =
            asker.filter(|asker| self.machines[*asker].cluster != self.machines[machine].cluster)
        {
            return self.wrong(|s| format!("the agent {what} {} for {}", s.name(machine), s.name(asker)));
        }
        let fits = |known: &Known| {
            let power = if starts { known.power != Power::Off } else { known.power != Power::On };
            known.is_open && known.target == Some(machine) && power
        };
        let waits = |known: &Known| run.zip(known.gave_up).is_none_or(|(run, runs)| run < runs);
        // Who joined late has the order for itself, once the others were told of what is proven to them.
        let is_member = |by: usize| self.machines[by].cluster == self.machines[machine].cluster;
        // What has begun is gone on with, also when they are all condemned by then.
        let has_begun = run.is_none_or(|run| self.oracle.condemned.contains_key(&run));
        let is_out = |known: &Known| self.oracle.condemned.get(&known.by).is_some_and(|at| *at < self.now);
        let may_want = |known: &Known| has_begun || !is_out(known);
        let joined = |by: usize, known: &Known| {
            Some(by) != asker && is_member(by) && fits(known) && waits(known) && may_want(known)
        };
        let is_joined = self.oracle.known.iter().any(|((by, _), known)| joined(*by, known));
        let is_waited_for = self.oracle.known.values().any(|known| fits(known) && waits(known));
        let mut of =
            self.oracle.known.iter().filter(|((by, _), known)| asker.is_none_or(|a| a == *by) && fits(known));
        let Some(first) = of.next().map(|(_, known)| known.first).filter(|_| is_waited_for) else {
            // An end that could not be written is not known to a restarted agent.
            if self.oracle.forgot || is_joined {
                return;
            }
            return self
                .wrong(|s| format!("the agent {what} {}, which no open request asks for", s.name(machine)));
        };
        let first = of.map(|(_, known)| known.first).fold(first, u64::min);
        let Some(by) = permit.map(|permit| usize::try_from(permit.asker().instance().pid - 1000).unwrap())
        else {
            return;
        };
        let is_condemned = self.oracle.condemned.get(&by).is_some_and(|at| *at < first);
        // An order whose end could not be written goes on after a restart.
        if asker != Some(machine) && is_condemned && !is_joined && !self.oracle.forgot {
            return self.wrong(|s| {
                format!("the agent {what} {} for run {by}, which was condemned", s.name(machine))
            });
        }
        let Some(run) = run.filter(|_| !starts && asker != Some(machine)) else { return };
        let agent = self.agent.number;
        if self.oracle.fenced.contains(&(run, by, agent)) {
            return self.wrong(|_| format!("runs {by} and {run} fence each other, and neither survives"));
        }
        self.oracle.fenced.push((by, run, agent));
    }
}
