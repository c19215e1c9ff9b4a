//! What happens to the host while the agent works: people, crashes, migrations, libvirtd's troubles.

use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_host_agent::domain::Standing;
use tokio::time::sleep;

use crate::seen::Seen;
use crate::tasks::Spawner;
use crate::world::effects::Effect;
use crate::world::machine::Opinion;
use crate::world::moving::Phase;
use crate::world::{Daemon, State, World};

const FATES: [Seen; 12] = [
    Seen::Stuck,
    Seen::LosesSight,
    Seen::Crashes,
    Seen::Restarts,
    Seen::Starts,
    Seen::Leaves,
    Seen::Arrives,
    Seen::LibvirtDies,
    Seen::LibvirtHangs,
    Seen::AgentDies,
    Seen::AgentStops,
    Seen::AgentHeldUp,
];

/// Less than after which the agent knows that it was held up, and refuses what came meanwhile.
pub(crate) const HELD_UP: u64 = 2_900;

/// Lets things happen until this time.
pub(crate) async fn strike(world: Arc<World>, spawner: Spawner, until: u64, pause: u64) {
    while world.now() < until {
        let pause = {
            let mut state = world.lock();
            let fates: Vec<Seen> = FATES.into_iter().filter(|fate| state.has(*fate)).collect();
            if let Some(fate) = state.rng.pick(&fates) {
                if fate == Seen::AgentHeldUp {
                    state.hold_up(&spawner);
                } else {
                    state.befall(fate);
                }
            }
            state.rng.between(1, pause)
        };
        world.plugs.notify_waiters();
        sleep(Duration::from_millis(pause)).await;
    }
}

impl State {
    /// One of the living processes of a machine.
    fn some_run(&mut self, machine: usize, here: bool) -> Option<usize> {
        let is_so = |run: &usize| {
            let of = &self.runs[*run];
            of.machine == machine && of.alive && of.here == here && of.holds
        };
        let some: Vec<usize> = (0..self.runs.len()).filter(is_so).collect();
        self.rng.pick(&some)
    }

    fn befall(&mut self, fate: Seen) {
        let machine = self.rng.below(self.machines.len());
        let here = self.some_run(machine, true);
        let there = self.some_run(machine, false);
        let of = &self.machines[machine];
        let (opinion, is_still, is_up) = (of.libvirt, of.moving.is_none(), self.daemon == Daemon::Up);
        let is_active = opinion.is_some_and(|known| known.active);
        match (fate, here, there) {
            (Seen::Stuck, Some(run), _) if !self.runs[run].frozen => {
                let millis = self.rng.between(100, 60_000);
                self.freeze(run, Some(millis));
            }
            (Seen::LosesSight, Some(run), _) if is_up && is_active && is_still && of.persistent => {
                self.lose_sight(machine, run);
            }
            (Seen::Crashes, Some(run), _) | (Seen::Crashes, None, Some(run)) => self.kill(run, "it crashes"),
            (Seen::Restarts, Some(run), _) if is_up && is_active && is_still => {
                self.kill(run, "somebody restarts it");
                for after in [200, 500, 1000] {
                    let after = self.rng.between(1, after);
                    self.later(after, Effect::Start(machine, "somebody"));
                }
            }
            (Seen::Starts, None, None) if opinion.is_some() && !is_active => {
                let after = self.rng.between(0, 300);
                self.later(after, Effect::Start(machine, "somebody"));
            }
            (Seen::Leaves, Some(run), None)
                if is_up
                    && is_active
                    && is_still
                    && of.is_defined
                    && of.pid_file == Some(run)
                    && !self.runs[run].frozen =>
            {
                return self.leave(machine, run);
            }
            (Seen::Arrives, None, Some(run)) if is_up && !is_active && is_still => {
                return self.arrive(machine, run);
            }
            (Seen::LibvirtDies, ..) => return self.trouble(Seen::LibvirtDies, Daemon::Down),
            (Seen::LibvirtHangs, ..) => return self.trouble(Seen::LibvirtHangs, Daemon::Hung),
            (Seen::AgentDies, ..) => self.kill_agent("at some moment"),
            (Seen::AgentStops, ..) => return self.stop_agent(),
            _ => return,
        }
        self.saw(fate);
    }

    /// Once for each machine: of two lost processes the agent may know one, see docs/simulation.md.
    fn lose_sight(&mut self, machine: usize, run: usize) {
        if self.runs.iter().filter(|run| run.machine == machine && run.alive && run.here).count() > 1 {
            return;
        }
        let standing = if self.rng.chance(700) { Standing::ShutOff } else { Standing::Crashed };
        let keeps_file = self.rng.chance(300);
        let of = &mut self.machines[machine];
        of.libvirt = Some(Opinion { active: false, standing });
        of.pid_file = of.pid_file.filter(|_| keeps_file);
        self.tell("libvirtd", |s| format!("says that {} is {standing:?}; run {run} lives", s.name(machine)));
        self.announce(machine);
    }

    /// libvirtd ends or hangs for a while. It does so before or after the last moments of a migration, never in them:
    /// that is the gap that docs/decisions/0005 names.
    fn trouble(&mut self, fault: Seen, daemon: Daemon) {
        let is_late = |phase: Phase| phase != Phase::Copying;
        let moving = |s: &Self, machine: usize| s.machines[machine].moving;
        let all = 0..self.machines.len();
        if self.daemon != Daemon::Up
            || all.clone().any(|at| moving(self, at).is_some_and(|m| !m.leaves || is_late(m.phase)))
        {
            return;
        }
        self.saw(fault);
        all.for_each(|machine| self.stay(machine));
        self.daemon = daemon;
        let (noticed, back) = match daemon {
            Daemon::Hung => (self.rng.between(5_000, 20_000), self.rng.between(100, 40_000)),
            Daemon::Down | Daemon::Up => (self.rng.between(0, 20), self.rng.between(50, 20_000)),
        };
        self.tell("libvirtd", |_| format!("is {daemon:?} for {back} ms"));
        self.later(noticed, Effect::Connected(false));
        self.later(back, Effect::Back);
        // Where the agent may not have heard of it: the gap that docs/decisions/0005 names.
        let may_not_know = self.has_agents_that_end() || !self.hears_everything();
        if daemon == Daemon::Down {
            self.forget_who_moved(may_not_know);
        }
    }

    /// libvirt knows only until its restart that a domain was migrated.
    fn forget_who_moved(&mut self, may_not_know: bool) {
        for machine in 0..self.machines.len() {
            let is_forgotten = !may_not_know || self.is_remembered(machine);
            if let Some(opinion) = &mut self.machines[machine].libvirt
                && opinion.standing == Standing::Moved
                && is_forgotten
            {
                opinion.standing = Standing::ShutOff;
            }
        }
    }

    fn hold_up(&mut self, spawner: &Spawner) {
        let (agent, time) = (self.agent.number, self.rng.between(50, HELD_UP));
        if agent == 0 || self.agent.is_dying || self.now < self.agent.held_until {
            return;
        }
        self.agent.held_until = self.now + time;
        for line in &mut self.wires {
            line.slow_until = line.slow_until.max(self.now + time + HELD_UP);
        }
        self.saw(Seen::AgentHeldUp);
        self.tell("agent", |_| format!("is held up for {time} ms"));
        spawner.hold_up(agent, Duration::from_millis(time));
    }

    fn stop_agent(&mut self) {
        let Some(stopping) = self.agent.stopping.take() else { return };
        self.saw(Seen::AgentStops);
        self.tell("agent", |_| "gets SIGTERM".into());
        stopping.send_replace(true);
        self.agent.kept = Some(stopping);
        let number = self.agent.number;
        self.later(1500, Effect::Ends(number));
    }
}
