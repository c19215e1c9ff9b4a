//! What libvirt makes of a start.

use fence_vmchannel_host_agent::domain::Standing;
use fence_vmchannel_host_agent::hypervisor::{CallError, Recipe};
use fence_vmchannel_host_agent::policy::Permit;

use super::calls::{Fate, deadline, gone};
use super::effects::Effect;
use super::hand::{Hand, START, wait};
use super::{Daemon, World};
use crate::seen::Seen;

impl Hand {
    pub(super) fn create(&self, permit: &Permit, recipe: &Recipe) -> Fate {
        let mut state = self.world.lock();
        let fate = state.fate(self.agent, START);
        let (Fate::Answers(after), Some(machine)) = (&fate, state.machine(permit.target())) else {
            return fate;
        };
        let after = after + state.rng.between(20, 300);
        if state.machines[machine].libvirt.is_none() && *recipe == Recipe::Defined {
            return Fate::Fails(after, CallError::NoDomain);
        }
        if state.strikes(Seen::StartFailsAndStarts) {
            if state.rng.chance(500) {
                let later = state.rng.between(0, 60_000);
                let begun = state.now;
                state.machines[machine].starts_late.push((self.agent, begun));
                state.later(later, Effect::StartLate(machine, self.agent, begun));
                return Fate::Fails(START, deadline(START));
            }
            let later = state.rng.between(0, 20_000);
            state.later(later, Effect::Start(machine, "libvirt, which said no"));
            return Fate::Fails(after, CallError::Failed("cannot create".into()));
        }
        Fate::Answers(after)
    }

    /// libvirt prepares a start.
    pub(super) async fn prepare(&self, permit: &Permit, after: u64) {
        let of = self.world.lock().machine(permit.target());
        let Some(machine) = of.filter(|_| self.world.lock().strikes(Seen::Prepares)) else {
            return wait(after).await;
        };
        let longer = {
            let mut state = self.world.lock();
            state.machines[machine].prepared += 1;
            state.rng.between(0, 6000)
        };
        let _over = Prepared { world: &self.world, machine };
        wait(after + longer).await;
    }

    /// As the real one does: waits until libvirt has noticed the end of the last run.
    pub(super) async fn started(&self, permit: &Permit) -> Result<(), CallError> {
        loop {
            {
                let mut state = self.world.lock();
                let Some(machine) = state.machine(permit.target()) else { return Err(CallError::NoDomain) };
                if state.daemon != Daemon::Up {
                    return Err(gone());
                }
                let of = &state.machines[machine];
                let (active, file) = (of.libvirt.is_some_and(|known| known.active), of.pid_file);
                if !active && of.libvirt.is_some_and(|known| known.standing == Standing::Moved) {
                    return Err(CallError::Failed("it moved".into()));
                }
                if !active && state.strikes(Seen::StartOnlySaysSo) {
                    return Ok(());
                }
                if !active {
                    state.start(machine, "the agent");
                    return Ok(());
                }
                if file.is_some_and(|run| state.runs[run].alive) {
                    return Ok(());
                }
            }
            wait(100).await;
        }
    }
}

/// A start that libvirt prepares. An agent that ends takes it with it.
struct Prepared<'a> {
    world: &'a World,
    machine: usize,
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        self.world.lock().machines[self.machine].prepared -= 1;
    }
}
