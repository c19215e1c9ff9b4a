//! A hypervisor whose domain stands as a [`Scene`] says, and which acts as libvirt does.
//!
//! In:  a scene. Out: facts, and a record of every action that reached the domain.
//!
//! Invariant: what is recorded as alive is the truth, whatever libvirt, files or looks say of it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use fence_vmchannel_host_agent::domain::{
    Domain, Instance, InstanceId, Job, Process as Held, Sighting, Standing,
};
use fence_vmchannel_host_agent::hypervisor::{CallError, Change, Hypervisor, Recipe};
use fence_vmchannel_host_agent::policy::Permit;
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::scene::{Kind, Process, Scene, Word};

pub(crate) const ASKER: Uuid = Uuid::from_u128(1);
pub(crate) const TARGET: Uuid = Uuid::from_u128(2);
/// After this libvirt gives up on a process that does not die.
const DESTROY_GIVES_UP: Duration = Duration::from_secs(15);
/// A call that is not answered ends after this.
const CALL_HANGS: Duration = Duration::from_secs(1);

type Actions = Arc<Mutex<Vec<String>>>;

/// A process that is only a number: 1 is the one that was known, or found, first.
struct Ghost {
    number: i32,
    gone: watch::Sender<bool>,
    by_libvirt: bool,
    by_signal: bool,
    actions: Actions,
}

impl fmt::Debug for Ghost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.number)
    }
}

impl Ghost {
    fn end(&self) {
        self.gone.send_replace(true);
    }

    fn instance(self: &Arc<Self>) -> Instance {
        Instance { id: InstanceId { pid: self.number, started: 0 }, process: self.clone() }
    }
}

#[async_trait]
impl Held for Ghost {
    fn is_gone(&self) -> bool {
        *self.gone.borrow()
    }

    async fn gone(&self) {
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    fn kill(&self) -> io::Result<()> {
        self.actions.lock().unwrap().push(format!("kill#{}", self.number));
        if self.by_signal {
            self.end();
        }
        Ok(())
    }

    fn is_peer(&self, pid: i32) -> bool {
        pid == self.number
    }

    fn describe(&self) -> String {
        format!("QEMU pid {} in state D (disk sleep)", self.number)
    }
}

/// What is true of the target.
struct Truth {
    word: Word,
    job: Job,
    all: Vec<Arc<Ghost>>,
    current: Option<Arc<Ghost>>,
    /// Whether `current` was alive when it was looked at last.
    was_alive: bool,
    restarts: bool,
    /// Processes that were started because an order said so.
    ordered: Vec<i32>,
    elsewhere: bool,
}

/// The target at one moment, as it is and not as anybody says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Its living processes that no order started.
    pub(crate) alive: Vec<i32>,
    /// Whether it may run on another host.
    pub(crate) elsewhere: bool,
}

pub(crate) struct Script {
    scene: Scene,
    asker: Arc<Ghost>,
    known: Option<Instance>,
    truth: Mutex<Truth>,
    actions: Actions,
}

impl Script {
    pub(crate) fn of(scene: Scene) -> Self {
        let actions = Actions::default();
        let ghost = |number| {
            let by_libvirt = !matches!(scene.process, Process::Stubborn | Process::Stuck);
            let by_signal = scene.process != Process::Stuck;
            let gone = watch::channel(false).0;
            Arc::new(Ghost { number, gone, by_libvirt, by_signal, actions: actions.clone() })
        };
        let (first, second) = (ghost(1), ghost(2));
        let (known, current) = match scene.process {
            Process::None | Process::UnsureFile | Process::UnsureScan => (None, None),
            Process::Gone => (Some(first), None),
            Process::Another | Process::GoneArguments => (Some(first), Some(second)),
            Process::Arguments => (None, Some(first)),
            Process::Alive
            | Process::Stubborn
            | Process::Stuck
            | Process::Restarts
            | Process::AliveNoFile => (Some(first.clone()), Some(first)),
        };
        if let Some(known) =
            known.as_ref().filter(|known| current.as_ref().map(|ghost| ghost.number) != Some(known.number))
        {
            known.end();
        }
        let truth = Truth {
            word: scene.word,
            job: scene.kind.job(),
            all: current.iter().cloned().collect(),
            was_alive: current.is_some(),
            current,
            restarts: scene.process == Process::Restarts,
            ordered: Vec::new(),
            elsewhere: scene.may_run_elsewhere(),
        };
        let asker = ghost(1000);
        Self { scene, asker, known: known.map(|known| known.instance()), truth: Mutex::new(truth), actions }
    }

    /// The domains as they were when they were looked at last.
    pub(crate) fn seen(&self) -> [Domain; 2] {
        let domain = |uuid, name: &str, standing, persistent, instance| Domain {
            uuid,
            name: name.parse().unwrap(),
            standing,
            persistent,
            cluster: Some("web".into()),
            channels: Vec::new(),
            owner: None,
            instance,
        };
        let persistent = self.scene.kind != Kind::Transient;
        [
            domain(ASKER, "asker", Standing::Active, true, Some(self.asker.instance())),
            domain(TARGET, "target", self.scene.seen, persistent, self.known.clone()),
        ]
    }

    /// Everything that was done to the target, in its order.
    pub(crate) fn actions(&self) -> Vec<String> {
        self.actions.lock().unwrap().clone()
    }

    pub(crate) fn now(&self) -> Moment {
        let truth = self.truth();
        let alive =
            truth.all.iter().filter(|ghost| !ghost.is_gone() && !truth.ordered.contains(&ghost.number));
        Moment { alive: alive.map(|ghost| ghost.number).collect(), elsewhere: truth.elsewhere }
    }

    /// The truth, after libvirt and others have noticed what happened.
    fn truth(&self) -> MutexGuard<'_, Truth> {
        let mut truth = self.truth.lock().unwrap();
        let ended = truth.was_alive && truth.current.as_ref().is_none_or(|ghost| ghost.is_gone());
        if ended {
            truth.was_alive = false;
            if matches!(truth.word, Word::Says(Standing::Active | Standing::Leaving | Standing::Crashed)) {
                let transient = self.scene.kind == Kind::Transient;
                truth.word = if transient { Word::NoDomain } else { Word::Says(Standing::ShutOff) };
            }
            if truth.restarts {
                (truth.restarts, truth.elsewhere) = (false, false); // it is back
                self.run_another(&mut truth);
            }
        }
        truth
    }

    fn run_another(&self, truth: &mut Truth) -> i32 {
        let number = truth.all.iter().map(|ghost| ghost.number).max().unwrap_or(1) + 1;
        let gone = watch::channel(false).0;
        let ghost = Ghost { number, gone, by_libvirt: true, by_signal: true, actions: self.actions.clone() };
        let ghost = Arc::new(ghost);
        truth.all.push(ghost.clone());
        (truth.current, truth.was_alive, truth.job) = (Some(ghost), true, Job::None);
        if !truth.word.is_silence() {
            truth.word = Word::Says(Standing::Active);
        }
        number
    }

    fn living(truth: &Truth) -> Sighting {
        let alive = truth.current.as_ref().filter(|ghost| !ghost.is_gone());
        alive.map_or(Sighting::Absent, |ghost| Sighting::Runs(ghost.instance()))
    }

    fn record(&self, what: &str) {
        self.actions.lock().unwrap().push(what.to_owned());
    }

    async fn ask(&self) -> Result<Standing, CallError> {
        let word = self.truth().word;
        match word {
            Word::Says(standing) => Ok(standing),
            Word::NoDomain => Err(CallError::NoDomain),
            Word::Unreachable => Err(CallError::Unreachable("its socket is gone".into())),
            Word::Fails => Err(CallError::Failed("internal error".into())),
            Word::Hangs => {
                sleep(CALL_HANGS).await;
                Err(CallError::Deadline(CALL_HANGS))
            }
        }
    }
}

#[async_trait]
impl Hypervisor for Script {
    fn is_connected(&self) -> bool {
        self.scene.word != Word::Unreachable
    }

    fn is_simulated(&self) -> bool {
        false
    }

    async fn changed(&self) -> Change {
        std::future::pending().await
    }

    async fn domains(&self) -> Result<Vec<Domain>, CallError> {
        Ok(self.seen().into())
    }

    async fn domain(&self, _uuid: Uuid) -> Result<Domain, CallError> {
        Err(CallError::NoDomain)
    }

    fn instance_now(&self, domain: &Domain) -> Sighting {
        if domain.uuid == ASKER {
            return Sighting::Runs(self.asker.instance());
        }
        let truth = self.truth();
        let ordered = truth.current.as_ref().is_some_and(|ghost| truth.ordered.contains(&ghost.number));
        let is = |processes: &[Process]| !ordered && processes.contains(&self.scene.process);
        if is(&[Process::UnsureFile, Process::AliveNoFile]) {
            return Sighting::Unsure;
        }
        if is(&[Process::Arguments, Process::GoneArguments, Process::UnsureScan]) {
            return Sighting::Absent;
        }
        Self::living(&truth)
    }

    fn named_now(&self) -> Option<BTreeSet<String>> {
        let named = self.seen().into_iter().filter(|domain| self.instance_now(domain) != Sighting::Absent);
        Some(named.map(|domain| domain.name.to_string()).collect())
    }

    fn process_seen(&self, uuid: Uuid, age: Duration) -> Option<Sighting> {
        self.process_of(uuid, age).now_or_never()
    }

    async fn process_of(&self, _uuid: Uuid, _age: Duration) -> Sighting {
        if self.scene.process == Process::UnsureScan {
            return Sighting::Unsure;
        }
        Self::living(&self.truth())
    }

    fn instance_again(&self, id: InstanceId) -> Sighting {
        let truth = self.truth();
        let same = truth.all.iter().find(|ghost| ghost.number == id.pid && !ghost.is_gone());
        same.map_or(Sighting::Absent, |ghost| Sighting::Runs(ghost.instance()))
    }

    async fn standing(&self, uuid: Uuid) -> Result<Standing, CallError> {
        if uuid == ASKER { Ok(Standing::Active) } else { self.ask().await }
    }

    async fn job(&self, _permit: &Permit, _within: Duration) -> Result<Job, CallError> {
        let standing = self.ask().await?;
        Ok(match standing {
            Standing::Active | Standing::Crashed | Standing::Leaving => self.truth().job,
            Standing::ShutOff | Standing::Moved | Standing::Unclear => Job::Ended,
        })
    }

    async fn abort_job(&self, _permit: &Permit) -> Result<(), CallError> {
        self.record("abort");
        self.ask().await?;
        let mut truth = self.truth();
        match self.scene.kind {
            Kind::LeavingUnabortable => return Err(CallError::Failed("it is in post-copy".into())),
            Kind::LeavingTooLate => {
                (truth.job, truth.elsewhere) = (Job::None, true);
                truth.word = Word::Says(Standing::Moved);
                if let Some(ghost) = truth.current.as_ref().filter(|ghost| ghost.by_libvirt) {
                    ghost.end(); // another one stays behind
                }
            }
            Kind::Leaving | Kind::Persistent | Kind::Transient | Kind::Arriving => {
                (truth.job, truth.elsewhere) = (Job::None, false);
                truth.word = Word::Says(Standing::Active);
            }
        }
        Ok(())
    }

    async fn recipe(&self, _permit: &Permit) -> Result<Recipe, CallError> {
        self.ask().await?;
        let transient = self.scene.kind == Kind::Transient;
        Ok(if transient { Recipe::Transient("<domain/>".into()) } else { Recipe::Defined })
    }

    async fn stop(&self, _permit: &Permit, _asked: Instant) -> Result<(), CallError> {
        self.record("stop");
        let standing = self.ask().await?;
        if matches!(standing, Standing::ShutOff | Standing::Moved | Standing::Unclear) {
            return Ok(()); // what does not run for libvirt needs no stop
        }
        let current = self.truth().current.clone().filter(|ghost| !ghost.is_gone());
        match current {
            Some(ghost) if ghost.by_libvirt => ghost.end(),
            Some(_) => {
                sleep(DESTROY_GIVES_UP).await;
                return Err(CallError::Failed("Failed to terminate process".into()));
            }
            None => {}
        }
        Ok(())
    }

    async fn start(&self, _permit: &Permit, recipe: &Recipe) -> Result<(), CallError> {
        let living = !self.now().alive.is_empty();
        let word = match recipe {
            Recipe::Defined => "start",
            Recipe::Transient(_) => "create",
        };
        self.record(&if living { format!("{word} BESIDE A LIVING PROCESS") } else { word.to_owned() });
        let creates = *recipe != Recipe::Defined && self.truth().word == Word::NoDomain;
        if !creates && self.ask().await? == Standing::Active {
            return Ok(()); // already running, for libvirt
        }
        let mut truth = self.truth();
        let number = self.run_another(&mut truth);
        truth.ordered.push(number);
        Ok(())
    }
}
