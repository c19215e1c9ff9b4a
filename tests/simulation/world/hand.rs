//! The hypervisor as one agent sees it: libvirt's calls with their faults, and the kernel's files.
//!
//! In:  what the real agent asks. Out: what libvirt would say, late, wrongly or not at all.
//!
//! Invariant: what an agent does after its death has no effect; what libvirt was told before it takes effect all the same.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fence_vmchannel_host_agent::domain::{Domain, InstanceId, Job, Sighting, Standing};
use fence_vmchannel_host_agent::hypervisor::{CallError, Change, Hypervisor, Recipe, WORD_IS_GOOD_FOR};
use fence_vmchannel_host_agent::policy::Permit;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::calls::{Fate, deadline, gone};
use super::effects::Effect;
use super::{Daemon, State, World};
use crate::seen::Seen;

/// One agent's hand on the world.
pub(crate) struct Hand {
    pub(crate) world: Arc<World>,
    pub(crate) agent: u64,
}

const LIST: u64 = 30_000;
const ASK: u64 = 5_000;
const STOP: u64 = 45_000;
pub(super) const START: u64 = 30_000;

impl Hand {
    /// A question to libvirt, answered as it was at its beginning or at its end.
    async fn ask<T>(
        &self,
        most: u64,
        answer: impl Fn(&State) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let (fate, early) = {
            let mut state = self.world.lock();
            let fate = state.fate(self.agent, most);
            let early = state.rng.chance(500).then(|| answer(&state));
            (fate, early)
        };
        match fate {
            Fate::Never => std::future::pending().await,
            Fate::Fails(after, error) => {
                wait(after).await;
                Err(error)
            }
            Fate::Answers(after) => {
                wait(after).await;
                let state = self.world.lock();
                match state.daemon {
                    Daemon::Up => early.unwrap_or_else(|| answer(&state)),
                    Daemon::Down | Daemon::Hung => Err(gone()),
                }
            }
        }
    }

    fn seen(&self, state: &State, machine: usize) -> Option<Domain> {
        let of = &state.machines[machine];
        let opinion = of.said()?;
        let run = of.pid_file.filter(|run| state.runs[*run].alive);
        Some(Domain {
            uuid: of.uuid,
            name: of.name.parse().unwrap(),
            standing: opinion.standing,
            persistent: of.persistent,
            cluster: Some(format!("cluster{}", of.cluster)),
            channels: Vec::new(),
            owner: None,
            instance: run.map(|run| self.world.instance(state, run, self.agent)),
        })
    }

    fn known(&self, state: &State, uuid: Uuid) -> Result<usize, CallError> {
        let known = |machine: &usize| state.machines[*machine].libvirt.is_some();
        state.machine(uuid).filter(known).ok_or(CallError::NoDomain)
    }

    fn look_for(&self, state: &mut State, run: Option<usize>) -> Sighting {
        let Some(run) = run.filter(|run| state.runs[*run].alive) else { return Sighting::Absent };
        if state.strikes(Seen::FileUnsure) {
            return Sighting::Unsure;
        }
        Sighting::Runs(self.world.instance(state, run, self.agent))
    }

    /// What libvirt makes of a destroy: how long it takes, and what it returns.
    fn destroy(&self, permit: &Permit) -> Fate {
        let mut state = self.world.lock();
        let fate = state.fate(self.agent, STOP);
        let (Fate::Answers(after), Some(machine)) = (&fate, state.machine(permit.target())) else {
            return fate;
        };
        let (after, of) = (*after, &state.machines[machine]);
        let Some(opinion) = of.libvirt else { return Fate::Fails(after, CallError::NoDomain) };
        let Some(run) = of.pid_file.filter(|_| opinion.active) else { return Fate::Answers(after) };
        let refused = || CallError::Failed("cannot destroy".into());
        if state.strikes(Seen::StopOnlySaysSo) {
            return Fate::Answers(after);
        }
        if state.strikes(Seen::StopFails) {
            return Fate::Fails(after, refused());
        }
        if state.strikes(Seen::StopFailsAndKills) {
            let later = state.rng.between(0, 3000);
            state.later(later, Effect::Kill(run, "libvirt"));
            return Fate::Fails(after, refused());
        }
        let late = if state.strikes(Seen::StopIsLate) { state.rng.between(100, 8000) } else { 0 };
        state.later(after + late, Effect::Term(run));
        state.later(after + late + 10_000, Effect::Kill(run, "libvirt"));
        Fate::Answers(after + late)
    }
}

pub(super) async fn wait(millis: u64) {
    if millis > 0 {
        sleep(Duration::from_millis(millis)).await;
    }
}

#[async_trait]
impl Hypervisor for Hand {
    fn is_connected(&self) -> bool {
        self.world.lock().connected
    }

    fn is_simulated(&self) -> bool {
        false
    }

    async fn changed(&self) -> Change {
        loop {
            let changed = {
                let mut state = self.world.lock();
                if let Some(change) = state.agent.changes.pop_front().filter(|_| state.may_act(self.agent)) {
                    state.is_heard(&change);
                    return change;
                }
                state.agent.changed.clone()
            };
            changed.notified().await;
        }
    }

    async fn domains(&self) -> Result<Vec<Domain>, CallError> {
        let all = |state: &State| {
            Ok((0..state.machines.len()).filter_map(|machine| self.seen(state, machine)).collect())
        };
        self.ask(LIST, all).await
    }

    async fn domain(&self, uuid: Uuid) -> Result<Domain, CallError> {
        let one = |state: &State| self.seen(state, self.known(state, uuid)?).ok_or(CallError::NoDomain);
        self.ask(ASK, one).await
    }

    fn instance_now(&self, domain: &Domain) -> Sighting {
        let mut state = self.world.lock();
        let run = state.machine(domain.uuid).and_then(|machine| state.machines[machine].pid_file);
        self.look_for(&mut state, run)
    }

    async fn process_of(&self, uuid: Uuid, age: Duration) -> Sighting {
        let (begun, takes, early) = {
            let mut state = self.world.lock();
            let slow = state.strikes(Seen::ScanSlow);
            let takes = if slow { state.rng.between(20, 900) } else { state.rng.between(0, 2) };
            if state.strikes(Seen::ScanUnsure) {
                return Sighting::Unsure;
            }
            let early = state.rng.chance(500).then(|| state.scan());
            (state.now, takes, early)
        };
        let age = u64::try_from(age.as_millis()).unwrap();
        let is_fresh = |state: &State| state.scan.as_ref().is_some_and(|(at, _)| at + age > begun);
        if age == 0 || !is_fresh(&self.world.lock()) {
            wait(takes).await;
            let mut state = self.world.lock();
            let found = early.unwrap_or_else(|| state.scan());
            state.scan = Some((begun, found));
        }
        let mut state = self.world.lock();
        let machine = state.machine(uuid).unwrap_or(usize::MAX);
        let found =
            state.scan.as_ref().and_then(|(_, found)| found.get(&machine).cloned()).unwrap_or_default();
        match state.rng.pick(&found) {
            Some(run) if state.runs[run].alive => {
                Sighting::Runs(self.world.instance(&state, run, self.agent))
            }
            _ => Sighting::Absent,
        }
    }

    fn instance_again(&self, id: InstanceId) -> Sighting {
        let mut state = self.world.lock();
        let run = state.runs.iter().position(|run| run.pid == id.pid);
        self.look_for(&mut state, run)
    }

    async fn standing(&self, uuid: Uuid) -> Result<Standing, CallError> {
        let standing = |state: &State| {
            let machine = self.known(state, uuid)?;
            state.machines[machine].said().map(|known| known.standing).ok_or(CallError::NoDomain)
        };
        self.ask(ASK, standing).await
    }

    async fn job(&self, permit: &Permit, within: Duration) -> Result<Job, CallError> {
        let job = |state: &State| Ok(state.job_of(self.known(state, permit.target())?));
        // What hangs while a migration is in its last moments is the gap that docs/decisions/0005 names.
        let moves = job(&self.world.lock()).is_ok_and(|job| job == Job::Leaving || job == Job::Arriving);
        if moves && self.world.lock().daemon == Daemon::Up {
            let mut state = self.world.lock();
            // The agent's own line is no libvirt that hangs.
            return if state.strikes(Seen::CallIsBusy) { Err(CallError::Busy) } else { job(&state) };
        }
        self.ask(u64::try_from(within.as_millis()).unwrap(), job).await
    }

    async fn abort_job(&self, permit: &Permit) -> Result<(), CallError> {
        let machine = self.ask(ASK, |state| self.known(state, permit.target())).await?;
        self.world.lock().abort(machine);
        while self.job(permit, Duration::from_secs(1)).await? == Job::Leaving {
            wait(100).await;
        }
        Ok(())
    }

    async fn recipe(&self, permit: &Permit) -> Result<Recipe, CallError> {
        let recipe = |state: &State| {
            let machine = self.known(state, permit.target())?;
            let persistent = state.machines[machine].persistent;
            Ok(if persistent { Recipe::Defined } else { Recipe::Transient("its XML".into()) })
        };
        self.ask(ASK, recipe).await
    }

    async fn stop(&self, permit: &Permit, asked: Instant) -> Result<(), CallError> {
        if !self.world.lock().agent_stops(self.agent, permit) {
            return std::future::pending().await;
        }
        let in_line = {
            let mut state = self.world.lock();
            let waits = state.rng.chance(500) && state.strikes(Seen::StopIsLate);
            if waits { state.rng.between(100, 8000) } else { 0 }
        };
        wait(in_line).await;
        if asked.elapsed() > WORD_IS_GOOD_FOR {
            match self.job(permit, Duration::from_secs(1)).await? {
                Job::Leaving | Job::Arriving => return Err(CallError::Failed("it migrates".into())),
                Job::None | Job::Starting | Job::Ended => {}
            }
        }
        match self.destroy(permit) {
            Fate::Never => std::future::pending().await,
            Fate::Fails(after, error) => {
                wait(after).await;
                Err(error)
            }
            Fate::Answers(after) => {
                wait(after).await;
                let (until, notices) = {
                    let mut state = self.world.lock();
                    (self.world.at(state.now + 40_000), state.rng.between(0, 250))
                };
                if let Some(process) = self.stopped_by(permit)
                    && timeout_at(until, process.process.gone()).await.is_err()
                {
                    return Err(CallError::Failed("it does not end".into()));
                }
                wait(notices).await;
                Ok(())
            }
        }
    }

    async fn start(&self, permit: &Permit, recipe: &Recipe) -> Result<(), CallError> {
        if !self.world.lock().agent_starts(self.agent, permit) {
            return std::future::pending().await;
        }
        let until = self.world.at(self.world.now() + START);
        match self.create(permit, recipe) {
            Fate::Never => std::future::pending().await,
            Fate::Fails(after, error) => {
                wait(after).await;
                Err(error)
            }
            Fate::Answers(after) => {
                self.prepare(permit, after).await;
                timeout_at(until, self.started(permit)).await.unwrap_or(Err(deadline(START)))
            }
        }
    }

    async fn no_start_is_under_way(&self, uuid: Uuid) {
        loop {
            let is_ours = |(agent, _): &(u64, u64)| *agent == self.agent;
            let is_late = |state: &State| {
                state.machine(uuid).is_some_and(|at| state.machines[at].starts_late.iter().any(is_ours))
            };
            if !is_late(&self.world.lock()) {
                return;
            }
            wait(100).await;
        }
    }
}

impl Hand {
    /// The process that a destroy waits for, unless libvirt only says that it does.
    fn stopped_by(&self, permit: &Permit) -> Option<fence_vmchannel_host_agent::domain::Instance> {
        let state = self.world.lock();
        let machine = state.machine(permit.target())?;
        let run = state.machines[machine].pid_file?;
        let is_sent = state.effects.is_to_end(run);
        (is_sent && state.runs[run].alive).then(|| self.world.instance(&state, run, self.agent))
    }
}
