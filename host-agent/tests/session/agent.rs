//! A running agent over simulated domains.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fence_vmchannel_host_agent::agent::Agent as Running;
use fence_vmchannel_host_agent::audit::Quota;
use fence_vmchannel_host_agent::channel::board::Board;
use fence_vmchannel_host_agent::channel::{Channel, Ended};
use fence_vmchannel_host_agent::config::Legacy;
use fence_vmchannel_host_agent::domain::Sighting;
use fence_vmchannel_host_agent::host_status::Facts;
use fence_vmchannel_host_agent::hypervisor::Hypervisor;
use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_host_agent::identity;
use fence_vmchannel_host_agent::inventory::{Census, Hint, Inventory};
use fence_vmchannel_host_agent::journal::Journal;
use fence_vmchannel_host_agent::legacy::network;
use fence_vmchannel_host_agent::orders::{Orders, Patience, Work};
use fence_vmchannel_host_agent::policy::Policy;
use fence_vmchannel_host_agent::session;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::settle;
use crate::guest::Guest;
use crate::paper::Paper;
use crate::recorder::Recorder;

/// What the settings say by default.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
pub(crate) const GIVE_UP: Duration = Duration::from_secs(45);

pub(crate) struct Agent {
    running: Arc<Running>,
    host: Arc<Recorder>,
    names: Vec<String>,
    paper: Paper,
    since_boot: Duration,
    begun: Instant,
    rules: watch::Sender<Arc<Policy>>,
    stopping: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

/// A running domain of a cluster; without a cluster if its label is empty.
pub(crate) fn domain(name: &str, cluster: &str) -> Entry {
    Entry {
        name: name.parse().unwrap(),
        uuid: uuid_of(name),
        cluster: (!cluster.is_empty()).then(|| cluster.to_owned()),
        running: true,
        persistent: true,
        stop_ms: 0,
        stubborn: false,
        immortal: false,
    }
}

/// Every name has its UUID.
pub(crate) fn uuid_of(name: &str) -> Uuid {
    let mut bytes = [0xa5; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
    Uuid::from_bytes(bytes)
}

impl Agent {
    /// Clusters and the names of their members, all running.
    pub(crate) async fn with_clusters<const C: usize, const N: usize>(
        clusters: [(&str, [&str; N]); C],
    ) -> Self {
        let members = |(label, names): (&str, [&str; N])| names.map(|name| domain(name, label));
        Self::with_domains(clusters.into_iter().flat_map(members).collect()).await
    }

    pub(crate) async fn with_domains(entries: Vec<Entry>) -> Self {
        let names = entries.iter().map(|entry| entry.name.to_string()).collect();
        Self::started(Arc::new(Recorder::of(entries)), names, Paper::default(), Duration::ZERO).await
    }

    /// One to which libvirt does not come to list these domains.
    pub(crate) async fn unlisted(entries: Vec<Entry>) -> Self {
        let names = entries.iter().map(|entry| entry.name.to_string()).collect();
        let host = Arc::new(Recorder::of(entries));
        host.lists(false);
        Self::started(host, names, Paper::default(), Duration::ZERO).await
    }

    /// A hook note tells of this domain.
    pub(crate) async fn hears_of(&self, name: &str) {
        self.running.hints.send(Hint::Changed(uuid_of(name))).await.unwrap();
        settle().await;
    }

    /// libvirt lists its domains.
    pub(crate) async fn is_listed(&self) {
        self.host.lists(true);
        settle().await;
    }

    /// SIGKILL.
    pub(crate) async fn killed(self) -> Killed {
        let Self { host, names, paper, since_boot, begun, tasks, .. } = self;
        drop(tasks);
        settle().await;
        Killed { host, names, paper, since_boot: since_boot + begun.elapsed() }
    }

    /// SIGKILL, and a new start this long after.
    pub(crate) async fn killed_and_started_after(self, away: Duration) -> Self {
        self.killed().await.starts_after(away).await
    }

    async fn started(host: Arc<Recorder>, names: Vec<String>, paper: Paper, since_boot: Duration) -> Self {
        let hypervisor: Arc<dyn Hypervisor> = host.clone();
        let mut tasks = JoinSet::new();

        let journal = Journal::open(Box::new(paper.clone()), &paper.content(), "this boot");
        let (hints, heard) = mpsc::channel(16);
        hints.send(Hint::Anything).await.unwrap(); // the host tells only its first agent that it is there
        let remembered = Inventory::remembering(journal.elsewhere().clone());
        let (published, inventory) = watch::channel(Arc::new(remembered));
        tasks.spawn(Census::new(hypervisor.clone(), heard, published, Duration::from_secs(30)).run());
        let (queue, work) = mpsc::channel(1024);
        tasks.spawn(carry_out(work));

        let patience = Patience { kill_after: GRACE, give_up_after: GIVE_UP };
        let journal = (journal, since_boot);
        let orders =
            Orders::new(hypervisor.clone(), (inventory.clone(), hints.clone()), patience, queue, journal);
        tasks.spawn(follow(orders.clone(), inventory.clone()));
        let (stopping, stop) = watch::channel(false);
        let (rules, policy) = watch::channel(Arc::new(Policy::default()));
        let (board, host_status) = (Board::default(), Facts::default());
        let running =
            Running { hypervisor, inventory, policy, orders, board, host_status, hints, stopping: stop };
        let running = Arc::new(running);
        let (begun, tasks) = (Instant::now(), Mutex::new(tasks));
        settle().await;
        Self { running, host, names, paper, since_boot, begun, rules, stopping, tasks }
    }

    /// It notices from now on when it is held up.
    pub(crate) async fn keeps_its_pulse(&self) {
        let orders = self.running.orders.clone();
        self.tasks.lock().unwrap().spawn(async move { orders.keep_the_pulse().await });
        settle().await;
    }

    /// A new connection of this guest, served as if its QEMU had made it.
    pub(crate) async fn guest(&self, name: &str) -> Guest {
        assert!(self.names.iter().any(|known| known == name), "there is no {name}");
        settle().await;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let domain = self.running.domains().get(uuid_of(name)).cloned().unwrap();
        let guest = identity::Guest::recognise(&*self.host, &domain, 0).unwrap();
        let (agent, channel) = (self.running.clone(), tokio::net::UnixStream::from_std(ours).unwrap());
        let (ending, ended) = watch::channel(None::<Ended>);
        self.tasks.lock().unwrap().spawn(async move {
            let why = session::serve(&mut Channel::new(channel), &guest, &agent, &Quota::default()).await;
            ending.send_replace(Some(why));
        });
        Guest::at(theirs, ended)
    }

    /// Everything that was done to domains, in its order.
    pub(crate) fn orders(&self) -> Vec<String> {
        self.host.done()
    }

    /// Whether this domain's process is there.
    pub(crate) fn runs(&self, name: &str) -> bool {
        let domains = self.running.domains();
        domains.get(uuid_of(name)).is_some_and(|domain| self.host.instance_now(domain) != Sighting::Absent)
    }

    /// The pid of this domain's process.
    pub(crate) async fn pid(&self, name: &str) -> Option<i32> {
        let domain = self.host.domain(uuid_of(name)).await.unwrap();
        domain.instance.map(|instance| instance.id.pid)
    }

    /// The administrator writes this as the only policy file.
    pub(crate) fn has_rules(&self, text: &str) {
        self.has_rules_in(&tempfile::tempdir().unwrap(), text);
    }

    /// The administrator writes this as the only policy file, beside what is in the directory.
    pub(crate) fn has_rules_in(&self, dir: &tempfile::TempDir, text: &str) {
        std::fs::write(dir.path().join("rules.toml"), text).unwrap();
        let loaded = Policy::load(dir.path());
        assert_eq!(loaded.problems, []);
        self.has(loaded.policy);
    }

    /// These rules hold now.
    pub(crate) fn has(&self, policy: Policy) {
        self.rules.send_replace(Arc::new(policy));
    }

    /// What its journal is written on.
    pub(crate) fn paper(&self) -> &Paper {
        &self.paper
    }

    /// What libvirt does meanwhile.
    pub(crate) fn host(&self) -> &Recorder {
        &self.host
    }

    /// libvirt forgets this domain.
    pub(crate) fn undefines(&self, name: &str) {
        self.host.is_undefined(uuid_of(name));
    }

    /// Somebody else than the agent starts this domain.
    pub(crate) async fn somebody_starts(&self, name: &str) {
        self.host.is_started(uuid_of(name));
        crate::clock::pass(Duration::from_secs(31)).await; // the next full look
    }

    /// It listens on a network for existing clients.
    pub(crate) fn listens(&self, legacy: &Legacy) {
        let listeners = network::listeners(legacy, &self.running).unwrap();
        let mut tasks = self.tasks.lock().unwrap();
        listeners.into_iter().for_each(|listener| drop(tasks.spawn(listener)));
    }

    /// SIGTERM came.
    pub(crate) fn begins_to_stop(&self) {
        self.stopping.send_replace(true);
    }
}

/// A host whose agent was killed.
pub(crate) struct Killed {
    host: Arc<Recorder>,
    names: Vec<String>,
    paper: Paper,
    since_boot: Duration,
}

impl Killed {
    /// What its journal was written on.
    pub(crate) fn paper(&self) -> &Paper {
        &self.paper
    }

    /// The agent starts again.
    pub(crate) async fn starts_after(self, away: Duration) -> Agent {
        tokio::time::advance(away).await;
        Agent::started(self.host, self.names, self.paper, self.since_boot + away).await
    }

    /// This domain's process ends, and not by the agent.
    pub(crate) async fn ends(&self, name: &str) {
        self.host.ends(uuid_of(name)).await;
    }

    /// Somebody else than the agent starts this domain.
    pub(crate) fn somebody_starts(&self, name: &str) {
        self.host.is_started(uuid_of(name));
    }
}

/// What the daemon does with orders.
async fn carry_out(mut work: mpsc::Receiver<Work>) {
    let mut orders = JoinSet::new();
    while let Some(order) = work.recv().await {
        orders.spawn(order);
        while orders.try_join_next().is_some() {}
    }
}

/// What the daemon does when domains come and go.
async fn follow(orders: Arc<Orders>, mut inventory: watch::Receiver<Arc<Inventory>>) {
    while inventory.changed().await.is_ok() {
        let now = inventory.borrow_and_update().clone();
        orders.retain(&now);
    }
}
