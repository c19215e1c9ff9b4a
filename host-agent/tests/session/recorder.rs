//! The simulated hypervisor, with a record of everything that was done to its domains.

use std::path::Path;
use std::sync::Mutex;

use std::time::Duration;

use async_trait::async_trait;
use fence_vmchannel_host_agent::domain::{Domain, InstanceId, Job, Sighting, Standing};
use fence_vmchannel_host_agent::hypervisor::simulated::{Entry, Simulated};
use fence_vmchannel_host_agent::hypervisor::{CallError, Change, Hypervisor, Recipe};
use fence_vmchannel_host_agent::policy::Permit;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

pub(crate) struct Recorder {
    simulated: Simulated,
    done: Mutex<Vec<String>>,
    /// In the last moments of a migration.
    leaving: watch::Sender<Option<Uuid>>,
    /// A start of before is under way.
    starting: watch::Sender<bool>,
    /// Questions about one domain are not answered.
    silent: watch::Sender<bool>,
    /// Whether libvirt lists its domains.
    lists: watch::Sender<bool>,
    /// How long a start takes, and whether it fails.
    start: Mutex<(Duration, bool)>,
    /// How many starts libvirt prepares, if it says so.
    preparing: watch::Sender<Option<usize>>,
    /// What is being copied to another host.
    migrating: watch::Sender<Option<Uuid>>,
    /// A process that is just becoming a QEMU cannot be read.
    unreadable: watch::Sender<bool>,
    /// How long a look at all processes takes.
    look: Mutex<Duration>,
}

/// How long the agent waits for what libvirt knows of one domain.
const STANDING_WITHIN: Duration = Duration::from_secs(5);

impl Recorder {
    pub(crate) fn of(entries: Vec<Entry>) -> Self {
        let simulated = Simulated::of(entries, Path::new("/nowhere"));
        Self {
            simulated,
            done: Mutex::default(),
            leaving: watch::channel(None).0,
            starting: watch::channel(false).0,
            silent: watch::channel(false).0,
            lists: watch::channel(true).0,
            start: Mutex::default(),
            preparing: watch::channel(None).0,
            migrating: watch::channel(None).0,
            unreadable: watch::channel(false).0,
            look: Mutex::default(),
        }
    }

    /// Everything that was done, in its order: `stop web1`, `start web1`.
    pub(crate) fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }

    /// Its process ends, whoever did that.
    pub(crate) async fn ends(&self, uuid: Uuid) {
        let domain = self.simulated.domain(uuid).await.unwrap();
        domain.instance.expect("it runs").process.kill().unwrap();
    }

    /// Somebody defines it.
    pub(crate) fn is_defined(&self, entry: Entry) {
        self.simulated.define(entry);
    }

    /// libvirt forgets it.
    pub(crate) fn is_undefined(&self, uuid: Uuid) {
        self.simulated.forget(uuid);
    }

    /// Somebody starts it.
    pub(crate) fn is_started(&self, uuid: Uuid) {
        self.simulated.run(uuid).unwrap();
    }

    /// Its source is paused for the last moments of a migration.
    pub(crate) fn leaves(&self, uuid: Uuid) {
        self.leaving.send_replace(Some(uuid));
    }

    /// Its migration has failed: it runs on here.
    pub(crate) fn stays(&self) {
        self.leaving.send_replace(None);
    }

    /// libvirt has not come to a start of before, or has.
    pub(crate) fn starts_late(&self, late: bool) {
        self.starting.send_replace(late);
    }

    /// libvirt hangs: it answers nothing that is asked about one domain.
    pub(crate) fn is_silent(&self) {
        self.silent.send_replace(true);
    }

    /// libvirt goes on, and answers what it was asked meanwhile.
    pub(crate) fn is_heard_again(&self) {
        self.silent.send_replace(false);
    }

    /// Each start takes so long, and then fails or not.
    pub(crate) fn starts_in(&self, time: Duration, fails: bool) {
        *self.start.lock().unwrap() = (time, fails);
    }

    /// While libvirt prepares a start, it says nothing clear of that domain.
    pub(crate) fn says_what_it_prepares(&self) {
        self.preparing.send_replace(Some(0));
    }

    /// Some process cannot be read, so that no domain is known to have none; or all can.
    pub(crate) fn has_one_that_cannot_be_read(&self, has: bool) {
        self.unreadable.send_replace(has);
    }

    /// A look at all processes takes so long.
    pub(crate) fn is_looked_at_in(&self, time: Duration) {
        *self.look.lock().unwrap() = time;
    }

    /// It is being copied to another host, of which no event tells, or that is over.
    pub(crate) fn migrates(&self, uuid: Option<Uuid>) {
        self.migrating.send_replace(uuid);
    }

    /// libvirt does not come to list its domains, or does.
    pub(crate) fn lists(&self, lists: bool) {
        self.lists.send_replace(lists);
    }

    /// What libvirt says of it: once its process is gone, only that it is shut off.
    fn said(&self, domain: Domain) -> Domain {
        let is_leaving = *self.leaving.borrow() == Some(domain.uuid) && domain.is_alive();
        Domain { standing: if is_leaving { Standing::Leaving } else { domain.standing }, ..domain }
    }

    async fn answers_within(&self, within: Duration) -> Result<(), CallError> {
        let answers = async { drop(self.silent.subscribe().wait_for(|silent| !silent).await) };
        timeout(within, answers).await.map_err(|_| CallError::Deadline(within))
    }

    fn record(&self, what: &str, permit: &Permit) {
        self.done.lock().unwrap().push(format!("{what} {}", permit.name()));
    }
}

#[async_trait]
impl Hypervisor for Recorder {
    fn is_connected(&self) -> bool {
        self.simulated.is_connected()
    }

    fn is_simulated(&self) -> bool {
        self.simulated.is_simulated()
    }

    async fn changed(&self) -> Change {
        let mut leaving = self.leaving.subscribe();
        tokio::select! {
            change = self.simulated.changed() => change,
            _ = leaving.changed() => leaving.borrow().map_or(Change::Everything, Change::Leaves),
        }
    }

    async fn domains(&self) -> Result<Vec<Domain>, CallError> {
        let _ = self.lists.subscribe().wait_for(|lists| *lists).await; // it is never closed
        Ok(self.simulated.domains().await?.into_iter().map(|domain| self.said(domain)).collect())
    }

    async fn domain(&self, uuid: Uuid) -> Result<Domain, CallError> {
        Ok(self.said(self.simulated.domain(uuid).await?))
    }

    fn instance_now(&self, domain: &Domain) -> Sighting {
        self.simulated.instance_now(domain)
    }

    async fn process_of(&self, uuid: Uuid, age: Duration) -> Sighting {
        let takes = *self.look.lock().unwrap();
        sleep(takes).await;
        let seen = self.simulated.process_of(uuid, age).await;
        if seen == Sighting::Absent && *self.unreadable.borrow() { Sighting::Unsure } else { seen }
    }

    fn instance_again(&self, id: InstanceId) -> Sighting {
        self.simulated.instance_again(id)
    }

    async fn standing(&self, uuid: Uuid) -> Result<Standing, CallError> {
        self.answers_within(STANDING_WITHIN).await?;
        let standing = self.simulated.standing(uuid).await?;
        let is_prepared = self.preparing.borrow().is_some_and(|count| count > 0);
        Ok(if is_prepared && standing == Standing::ShutOff { Standing::Unclear } else { standing })
    }

    async fn job(&self, permit: &Permit, within: Duration) -> Result<Job, CallError> {
        self.answers_within(within).await?;
        let job = self.simulated.job(permit, within).await?;
        let is_migrating = *self.migrating.borrow() == Some(permit.target());
        Ok(if is_migrating && job == Job::None { Job::Leaving } else { job })
    }

    async fn abort_job(&self, permit: &Permit) -> Result<(), CallError> {
        self.record("abort the job of", permit);
        let _ = self.migrating.subscribe().wait_for(Option::is_none).await; // it is never closed
        self.simulated.abort_job(permit).await
    }

    async fn recipe(&self, permit: &Permit) -> Result<Recipe, CallError> {
        self.simulated.recipe(permit).await
    }

    async fn stop(&self, permit: &Permit, asked: Instant) -> Result<(), CallError> {
        self.record("stop", permit);
        self.simulated.stop(permit, asked).await
    }

    async fn start(&self, permit: &Permit, recipe: &Recipe) -> Result<(), CallError> {
        self.record("start", permit);
        let (takes, fails) = *self.start.lock().unwrap();
        self.preparing.send_modify(|count| *count = count.map(|count| count + 1));
        sleep(takes).await;
        self.preparing.send_modify(|count| *count = count.map(|count| count - 1));
        if fails {
            return Err(CallError::Failed("its image is missing".into()));
        }
        self.simulated.start(permit, recipe).await
    }

    async fn no_start_is_under_way(&self, _uuid: Uuid) {
        let _ = self.starting.subscribe().wait_for(|late| !late).await; // it is never closed
    }
}
