//! A hypervisor without machines, behind the real trait: for tests and `run --simulate FILE`.
//!
//! In:  a TOML file of domains. Out: facts about processes that exist only here.
//!
//! Invariant: every answer that comes from it is marked `simulated`; whoever connects to a domain's socket is taken for its
//! guest.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fence_vmchannel_protocol::Name;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{CallError, Change, Hypervisor, Recipe};
use crate::domain::{
    ChannelSpec, Domain, Instance, InstanceId, Job, Mode, Port, Process, Sighting, Standing,
};
use crate::policy::Permit;

/// Why a simulation cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// Its file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its file is malformed.
    #[error("{path}: {text}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line and what was expected.
        text: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    domain: Vec<Entry>,
}

/// One simulated domain, as its file describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its cluster label.
    pub cluster: Option<String>,
    /// Whether it runs at first.
    #[serde(default = "yes")]
    pub running: bool,
    /// Whether its definition outlives its run.
    #[serde(default = "yes")]
    pub persistent: bool,
    /// Milliseconds from the request to stop to the end of its process.
    #[serde(default)]
    pub stop_ms: u64,
    /// Whether libvirt can stop it; a stubborn one needs SIGKILL.
    #[serde(default)]
    pub stubborn: bool,
    /// Whether even SIGKILL has no effect (a process in D state).
    #[serde(default)]
    pub immortal: bool,
}

fn yes() -> bool {
    true
}

/// A process that is only a number.
struct Ghost {
    pid: i32,
    gone: watch::Sender<bool>,
    immortal: bool,
}

impl fmt::Debug for Ghost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated pid {}", self.pid)
    }
}

#[async_trait]
impl Process for Ghost {
    fn is_gone(&self) -> bool {
        *self.gone.borrow()
    }

    async fn gone(&self) {
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    fn kill(&self) -> io::Result<()> {
        if !self.immortal {
            self.gone.send_replace(true);
        }
        Ok(())
    }

    fn is_peer(&self, _pid: i32) -> bool {
        true
    }

    fn describe(&self) -> String {
        let state = if self.immortal { "D (disk sleep)" } else { "S (sleeping)" };
        format!("simulated QEMU pid {} in state {state}", self.pid)
    }
}

struct Machine {
    entry: Entry,
    run: Option<Arc<Ghost>>,
}

/// The simulated hypervisor.
pub struct Simulated {
    guests_dir: PathBuf,
    machines: Mutex<BTreeMap<Uuid, Machine>>,
    changed: Notify,
    next_pid: AtomicI32,
}

impl Simulated {
    /// The domains of a file.
    pub fn load(file: &Path, guests_dir: &Path) -> Result<Self, SimulationError> {
        let path = || file.to_owned();
        let text = std::fs::read_to_string(file)
            .map_err(|source| SimulationError::Unreadable { path: path(), source })?;
        let parsed: Result<File, _> = toml::from_str(&text);
        let malformed = |e: toml::de::Error| SimulationError::Malformed { path: path(), text: e.to_string() };
        Ok(Self::of(parsed.map_err(malformed)?.domain, guests_dir))
    }

    /// These domains.
    #[must_use]
    pub fn of(entries: Vec<Entry>, guests_dir: &Path) -> Self {
        let simulated = Self {
            guests_dir: guests_dir.to_owned(),
            machines: Mutex::default(),
            changed: Notify::new(),
            next_pid: AtomicI32::new(1_000_000),
        };
        for entry in entries {
            let run = entry.running.then(|| simulated.ghost(&entry));
            simulated.lock().insert(entry.uuid, Machine { entry, run });
        }
        simulated.changed.notify_one();
        simulated
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ghost(&self, entry: &Entry) -> Arc<Ghost> {
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        Arc::new(Ghost { pid, gone: watch::channel(false).0, immortal: entry.immortal })
    }

    /// Starts a domain, if it does not run.
    pub fn run(&self, uuid: Uuid) -> Result<(), CallError> {
        let mut machines = self.lock();
        let machine = machines.get_mut(&uuid).ok_or(CallError::NoDomain)?;
        if machine.run.as_ref().is_none_or(|ghost| ghost.is_gone()) {
            machine.run = Some(self.ghost(&machine.entry));
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Defines a domain. One that runs goes on.
    pub fn define(&self, entry: Entry) {
        let mut machines = self.lock();
        let run = machines.get(&entry.uuid).and_then(|machine| machine.run.clone());
        machines.insert(entry.uuid, Machine { entry, run });
        self.changed.notify_one();
    }

    /// Forgets a domain.
    pub fn forget(&self, uuid: Uuid) {
        self.lock().remove(&uuid);
        self.changed.notify_one();
    }

    fn seen(&self, machine: &Machine) -> Domain {
        let entry = &machine.entry;
        let instance = machine.run.clone().filter(|ghost| !ghost.is_gone()).map(instance_of);
        Domain {
            uuid: entry.uuid,
            name: entry.name.clone(),
            standing: if instance.is_some() { Standing::Active } else { Standing::ShutOff },
            persistent: entry.persistent,
            cluster: entry.cluster.clone(),
            channels: vec![ChannelSpec {
                port: Port::Virtio,
                mode: Mode::Connect,
                path: self.guests_dir.join(format!("{}.sock", entry.uuid)).into(),
            }],
            owner: None,
            instance,
        }
    }
}

fn instance_of(ghost: Arc<Ghost>) -> Instance {
    Instance { id: InstanceId { pid: ghost.pid, started: 0 }, process: ghost }
}

#[async_trait]
impl Hypervisor for Simulated {
    fn is_connected(&self) -> bool {
        true
    }

    fn is_simulated(&self) -> bool {
        true
    }

    async fn changed(&self) -> Change {
        self.changed.notified().await;
        Change::Everything
    }

    async fn domains(&self) -> Result<Vec<Domain>, CallError> {
        Ok(self.lock().values().map(|machine| self.seen(machine)).collect())
    }

    async fn domain(&self, uuid: Uuid) -> Result<Domain, CallError> {
        self.lock().get(&uuid).map(|machine| self.seen(machine)).ok_or(CallError::NoDomain)
    }

    fn instance_now(&self, domain: &Domain) -> Sighting {
        let seen = self.lock().get(&domain.uuid).and_then(|machine| self.seen(machine).instance);
        seen.map_or(Sighting::Absent, Sighting::Runs)
    }

    async fn process_of(&self, uuid: Uuid, _age: Duration) -> Sighting {
        let seen = self.lock().get(&uuid).and_then(|machine| self.seen(machine).instance);
        seen.map_or(Sighting::Absent, Sighting::Runs)
    }

    fn instance_again(&self, id: InstanceId) -> Sighting {
        let machines = self.lock();
        let run =
            machines.values().filter_map(|machine| machine.run.as_ref()).find(|ghost| ghost.pid == id.pid);
        run.filter(|ghost| !ghost.is_gone())
            .map_or(Sighting::Absent, |ghost| Sighting::Runs(instance_of(ghost.clone())))
    }

    async fn standing(&self, uuid: Uuid) -> Result<Standing, CallError> {
        self.domain(uuid).await.map(|domain| domain.standing)
    }

    async fn job(&self, _permit: &Permit, _within: Duration) -> Result<Job, CallError> {
        Ok(Job::None)
    }

    async fn abort_job(&self, _permit: &Permit) -> Result<(), CallError> {
        Ok(())
    }

    async fn recipe(&self, permit: &Permit) -> Result<Recipe, CallError> {
        let domain = self.domain(permit.target()).await?;
        Ok(if domain.persistent { Recipe::Defined } else { Recipe::Transient(domain.name.to_string()) })
    }

    async fn stop(&self, permit: &Permit, _asked: Instant) -> Result<(), CallError> {
        let (run, entry) = {
            let machines = self.lock();
            let machine = machines.get(&permit.target()).ok_or(CallError::NoDomain)?;
            (machine.run.clone(), machine.entry.clone())
        };
        sleep(Duration::from_millis(entry.stop_ms)).await;
        match run {
            Some(ghost) if !entry.stubborn && !entry.immortal => {
                ghost.gone.send_replace(true);
                self.changed.notify_one();
                Ok(())
            }
            Some(_) => std::future::pending().await,
            None => Ok(()),
        }
    }

    async fn start(&self, permit: &Permit, _recipe: &Recipe) -> Result<(), CallError> {
        self.run(permit.target())
    }
}
