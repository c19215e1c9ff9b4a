//! The running agent: all its tasks, its start and its end.
//!
//! In:  settings and signals. Out: a process that serves guests until SIGTERM.
//!
//! Invariant: every task lives in one JoinSet. A session that panics dies alone; a core task that ends stops the agent, and
//! systemd restarts it.

mod directory;

use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::agent::Agent;
use crate::channel::board::Board;
use crate::channel::turns::Turns;
use crate::channels::{Channels, Idle};
use crate::config::Config;
use crate::hooks::Spool;
use crate::host_status::{Facts, Keeper, Maintenance};
use crate::hypervisor::Hypervisor;
use crate::hypervisor::libvirt::{Libvirt, Settings, StartError};
use crate::hypervisor::simulated::{Simulated, SimulationError};
use crate::inventory::{Census, Inventory};
use crate::journal::{Journal, JournalFile};
use crate::orders::{Clock, Orders, Patience, Work};
use crate::{control, hints, legacy, rules};
use directory::Lock;

/// How many orders may wait to be begun, and how many hints to be taken.
const QUEUE: usize = 1024;
/// How long orders under way may still take after SIGTERM.
const DRAIN: Duration = Duration::from_millis(1500);
/// How long what can still be told is told after that; it takes some 40 us each.
const TELL: Duration = Duration::from_millis(100);
/// How long a thread waits for the next call of libvirt: those that a hung libvirt took are to go when it is back.
const IDLE_THREAD: Duration = Duration::from_secs(1);
/// How long libvirt may take to tell which domains there are, before the agent says that it is ready without knowing.
const LIBVIRT_PATIENCE: Duration = Duration::from_secs(2);
/// How often sockets without a domain are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// What a task was, when it ends.
#[derive(Debug)]
pub enum Task {
    /// It served a channel, or made sockets: nobody is there now.
    Channels(Vec<Idle>),
    /// It panicked, whatever it was.
    Lost,
    /// One order, or a channel that is no more.
    Order,
    /// The agent can be without it.
    Beside,
    /// The agent cannot be without it.
    Core(&'static str),
}

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A directory cannot be made.
    #[error("cannot make {0}: {1}; run as root, or set runtime-dir")]
    Directory(String, #[source] io::Error),
    /// What is in a directory may be anybody's.
    #[error(
        "{0} is not used: it must be a directory and no link, of root or the agent's own user, that nobody else may write to. \
         Remove it, so that it is made anew, or set runtime-dir"
    )]
    NotOurs(String),
    /// The lock cannot be opened; a link in its place is not followed.
    #[error("cannot open {0}: {1}; remove what is in its place")]
    Lock(String, #[source] io::Error),
    /// What orders did before cannot be read.
    #[error(
        "cannot read the journal {0}: {1}; without it a request could be acted on twice. Make it readable, or remove it"
    )]
    Journal(String, #[source] io::Error),
    /// The process lacks something.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// libvirt's library.
    #[error(transparent)]
    Libvirt(#[from] StartError),
    /// The simulation's file.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// Another agent serves the same directory.
    #[error(
        "another fence-vmchanneld runs already with {0}: two of them would decide apart from each other; stop that one first"
    )]
    AlreadyRunning(String),
    /// Somebody removed its files.
    #[error(
        "{0} was removed while the agent runs: it ends, and makes everything there anew when it is started again"
    )]
    Removed(String),
    /// A core task ended.
    #[error("{0} ended, which it never should; see the log")]
    Core(String),
}

/// So many tasks go on between two questions to the kernel what else there is. A read of bytes that were written one by one can take a
/// millisecond, for the kernel wakes who waits to write at each of them.
const TASKS_IN_A_ROW: u32 = 8;

/// Runs the agent until SIGTERM or SIGINT.
pub fn run(config: &Config, simulate: Option<&Path>) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(128)
        .thread_keep_alive(IDLE_THREAD)
        .event_interval(TASKS_IN_A_ROW)
        .build()?;
    let ended = runtime.block_on(Daemon::run(config, simulate));
    // A hung libvirt call must not hold us up.
    runtime.shutdown_background();
    ended
}

struct Daemon {
    agent: Arc<Agent>,
    tasks: JoinSet<Task>,
    work: mpsc::Receiver<Work>,
    channels: Channels,
    reload: mpsc::Sender<()>,
    stopping: watch::Sender<bool>,
}

impl Daemon {
    async fn run(config: &Config, simulate: Option<&Path>) -> Result<(), DaemonError> {
        raise_descriptor_limit();
        directory::make(&config.runtime_dir)?;
        directory::make(&config.guests_dir())?;
        let only = Lock::take(&config.runtime_dir)?;
        let mut daemon = Self::start(config, simulate)?;
        let signals = Signals {
            stop: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        };
        let ended = daemon.serve(config, signals, &only).await;
        tell_systemd("STOPPING=1");
        daemon.drain().await;
        ended
    }

    fn start(config: &Config, simulate: Option<&Path>) -> Result<Self, DaemonError> {
        let mut tasks = JoinSet::new();
        let hypervisor: Arc<dyn Hypervisor> = match simulate {
            Some(file) => Arc::new(Simulated::load(file, &config.guests_dir())?),
            None => {
                let run_dir = config.libvirt_run_dir.clone();
                let settings =
                    Settings { run_dir, ..Settings::new(&config.libvirt_uri, config.guests_dir()) };
                let libvirt = Arc::new(Libvirt::start(settings)?);
                let keeper = libvirt.clone();
                tasks.spawn(core("the libvirt connection's keeper", async move { keeper.run().await }));
                libvirt
            }
        };
        let (hints, heard) = mpsc::channel(QUEUE);
        let ends = hints.clone();
        let journal = journal(config, hypervisor.is_simulated())?;
        let remembered = Inventory::remembering(journal.0.elsewhere().clone());
        let (published, inventory) = watch::channel(Arc::new(remembered));
        let census = Census::new(hypervisor.clone(), heard, published, config.reconcile_every);
        tasks.spawn(core("the inventory", async move { census.run().await }));
        let (spool, guests_dir) = (Spool::open(&config.spool_dir()), config.guests_dir());
        tasks.spawn(core(
            "the hook notes' reader",
            async move { hints::follow(spool, guests_dir, hints).await },
        ));

        let (policy, problems) = rules::first(&config.policy_dir);
        let (rules, policy) = watch::channel(Arc::new(policy));
        let (reload, asked) = mpsc::channel(1);
        let (dir, told) = (config.policy_dir.clone(), problems.clone());
        tasks.spawn(core("the policy's reader", async move { rules::follow(dir, rules, told, asked).await }));

        // Those of before a restart are taken up before anybody takes them from here.
        let (queue, work) = mpsc::channel(QUEUE + journal.0.orders().count());
        let patience = Patience { kill_after: config.kill_after, give_up_after: config.give_up_after };
        let orders =
            Orders::new(hypervisor.clone(), (inventory.clone(), ends.clone()), patience, queue, journal);
        let pulse = orders.clone();
        tasks.spawn(core("the pulse", async move { pulse.keep_the_pulse().await }));
        let host_status = Facts::new(config.host_status.clone());
        let keeper = Keeper::new(host_status.clone(), Maintenance::of(&config.runtime_dir));
        tasks.spawn(async move {
            keeper.run().await;
            Task::Beside
        });
        let (stopping, stop) = watch::channel(false);
        let agent = Arc::new(Agent {
            hypervisor,
            inventory,
            policy,
            orders,
            board: Board::default(),
            host_status,
            hints: ends,
            stopping: stop,
        });
        if let Some(legacy) = &config.legacy {
            legacy::warn(legacy);
            match legacy::network::listeners(legacy, &agent) {
                Ok(listeners) => {
                    for listener in listeners {
                        tasks.spawn(core("a legacy listener", listener));
                    }
                }
                Err(error) => tracing::error!("nobody is served over legacy networks: {error}"),
            }
        }
        let (socket, asked) = (config.control_socket(), agent.clone());
        tasks.spawn(core("the control socket", control::serve(socket, asked, problems)));
        Ok(Self { agent, tasks, work, channels: Channels::open()?, reload, stopping })
    }

    async fn serve(&mut self, config: &Config, mut signals: Signals, only: &Lock) -> Result<(), DaemonError> {
        let mut inventory = self.agent.inventory.clone();
        let mut first_listing = inventory.clone();
        let first_listing = timeout(LIBVIRT_PATIENCE, async move {
            let _ = first_listing.wait_for(|now| now.is_complete()).await; // ends with the agent
        });
        let (mut first_listing, mut is_ready) = (pin!(first_listing), false);
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Ok(()) = inventory.changed() => {
                    inventory.mark_unchanged();
                    self.follow();
                }
                _ = &mut first_listing, if !is_ready => {
                    is_ready = true;
                    tracing::info!(libvirt = %config.libvirt_uri, runtime = %config.runtime_dir.display(), "ready");
                    tell_systemd("READY=1");
                }
                Some(work) = self.work.recv() => {
                    self.tasks.spawn(async move { work.await; Task::Order });
                }
                seats = self.channels.knocked() => self.channels.tend(&seats, &self.agent, &mut self.tasks),
                Some(ended) = self.tasks.join_next() => match check(ended)? {
                    Task::Channels(idle) => self.channels.rest(idle, &self.agent, &mut self.tasks),
                    Task::Lost => self.follow(), // if it was a channel's, that one is tended anew
                    Task::Order | Task::Beside | Task::Core(_) => {}
                },
                _ = sweep.tick() => self.sweep(config, only)?,
                _ = signals.hup.recv() => drop(self.reload.try_send(())),
                _ = signals.stop.recv() => break,
                _ = signals.int.recv() => break,
            }
        }
        Ok(())
    }

    /// What somebody else removed is made again; without its lock the whole agent is.
    fn sweep(&mut self, config: &Config, only: &Lock) -> Result<(), DaemonError> {
        only.is_still_there()?;
        if let Err(error) = directory::make_if_missing(&config.guests_dir()) {
            tracing::error!("{error}; trying again");
        }
        self.channels.sweep(&config.guests_dir(), &self.agent, &mut self.tasks);
        Ok(())
    }

    fn follow(&mut self) {
        let now = self.agent.domains();
        self.channels.follow(&now, &self.agent, &mut self.tasks);
        self.agent.orders.retain(&now);
    }

    /// Orders under way get a moment to end and to be answered; what is not done then stays undone and unsaid.
    async fn drain(&mut self) {
        self.stopping.send_replace(true);
        let (until, mut inventory) = (Instant::now() + DRAIN, self.agent.inventory.clone());
        while self.agent.orders.are_open() {
            tokio::select! {
                Some(work) = self.work.recv() => {
                    self.tasks.spawn(async move { work.await; Task::Order });
                }
                Some(_) = self.tasks.join_next() => {}
                Ok(()) = inventory.changed() => self.agent.orders.retain(&self.agent.domains()), // who leaves
                () = sleep_until(until) => {
                    tracing::warn!("stopping while orders are under way: their askers get no verdict and ask again");
                    break;
                }
            }
        }
        tell(&mut self.tasks, self.agent.board.turns()).await;
        self.tasks.shutdown().await;
        self.agent.orders.retain(&self.agent.domains());
        tracing::info!("stopped");
    }
}

/// The verdicts of orders that just ended are written by their sessions, however many; these go on then, and it is not known when all
/// have written.
async fn tell(tasks: &mut JoinSet<Task>, turns: &Turns) {
    turns.open();
    let all_end = async { while tasks.join_next().await.is_some() {} };
    let _ = timeout(TELL, all_end).await; // seldom before: a core task never ends
}

/// A task that the agent cannot be without: however it ends, also by a panic, the agent ends.
async fn core(name: &'static str, work: impl Future<Output = ()>) -> Task {
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        tracing::error!("{name} panicked: this is a bug of ours, please report it");
    }
    Task::Core(name)
}

struct Signals {
    stop: Signal,
    int: Signal,
    hup: Signal,
}

fn check(ended: Result<Task, JoinError>) -> Result<Task, DaemonError> {
    match ended {
        Ok(Task::Core(name)) => Err(DaemonError::Core(name.into())),
        Ok(task) => Ok(task),
        Err(error) if error.is_cancelled() => Ok(Task::Order),
        Err(error) => {
            tracing::error!(%error, "a task panicked: this is a bug of ours, please report it");
            Ok(Task::Lost)
        }
    }
}

/// What orders did before this start. Machines that are only numbers end with the agent.
fn journal(config: &Config, is_simulated: bool) -> Result<(Journal, Clock), DaemonError> {
    if is_simulated {
        return Ok((Journal::in_memory(), Clock::Boot));
    }
    let path = config.journal();
    let unreadable = |error| DaemonError::Journal(path.display().to_string(), error);
    let (file, content) = JournalFile::open(&path).map_err(unreadable)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok((Journal::open(Box::new(file), &content, boot.trim()), Clock::Boot))
}

/// Each guest costs two or three descriptors; the soft limit of 1024 is no measure of ours.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// Tells systemd how far we are (sd_notify(3)); nothing where nobody asked.
fn tell_systemd(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent =
        std::os::unix::net::UnixDatagram::unbound().and_then(|from| from.send_to(state.as_bytes(), &socket));
    if let Err(error) = sent {
        tracing::debug!(%error, "systemd could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn however_many_wait_for_a_verdict_at_the_end_all_are_told_and_who_stays_holds_nobody_up() {
        let (turns, told, mut tasks) = (Turns::default(), Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for _ in 0..3_000 {
            let (turn, told) = (turns.line_up(), told.clone());
            tasks.spawn(async move {
                turn.await;
                told.fetch_add(1, Relaxed);
                pending().await // a session goes on
            });
        }
        let begun = Instant::now();

        tell(&mut tasks, &turns).await;

        assert_eq!(told.load(Relaxed), 3_000);
        assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
    }
}
