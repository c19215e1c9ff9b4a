//! The real hypervisor: libvirt, and the QEMU processes that it started.
//!
//! In:  libvirt's events and answers, its pid files, `/proc`. Out: domains, changes, and what came of stops and starts.
//!
//! Invariant: every call has a deadline, and none runs on the runtime's own thread. The agent works on while libvirt is
//! away or hangs: processes are held by pidfd and need no libvirt.

mod act;
mod changes;
mod ffi;
mod keeper;
mod link;
mod look;
mod place;
mod pool;
pub mod process;
mod scan;
mod starts;
mod turns;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use fence_vmchannel_protocol::Name;
use futures_util::future::try_join_all;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

pub use self::place::StartError;

use self::act::Started;
use self::keeper::Keeper;
use self::look::{Look, Share};
use self::place::Place;
use self::pool::{Lane, Pool, Supply, Threads};
use self::scan::Scan;
use self::starts::Starts;
use super::{CallError, Change, Hypervisor, Recipe};
use crate::domain::{Domain, InstanceId, Job, Sighting, Standing};
use crate::policy::Permit;

/// All domains at once may take longer: libvirt holds the list back while any domain is being destroyed.
const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// What a listing is about; its shares are about other UUIDs that no domain has.
const ALL: Uuid = Uuid::nil();
/// From so many domains on the list is read in shares, each on a connection of its own.
const MANY: usize = 256;
const SHARES: u128 = 3;
/// So many processes that are new are read at a time; each can hold its thread for a second.
const READS: usize = 32;
/// libvirt itself waits 10 s before it kills, and then for the kernel.
const STOP_DEADLINE: Duration = Duration::from_secs(45);
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How often to try again while libvirt has not noticed the end of the last run.
const START_AGAIN: Duration = Duration::from_millis(100);

/// How to reach libvirt.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its URI, on this host: `qemu:///system`, `qemu:///session`, with `?socket=PATH`, or a test driver.
    pub uri: String,
    /// The directory of the guests' sockets.
    pub guests_dir: PathBuf,
    /// Where libvirt keeps its pid files; follows from the URI if unset.
    pub run_dir: Option<PathBuf>,
    /// How long an ordinary question may take.
    pub call_deadline: Duration,
    /// How many domains are stopped or started at the same time.
    pub pool_size: usize,
}

impl Settings {
    /// Settings with a deadline of 5 s and 8 connections.
    #[must_use]
    pub fn new(uri: impl Into<String>, guests_dir: impl Into<PathBuf>) -> Self {
        let (uri, guests_dir) = (uri.into(), guests_dir.into());
        Self { uri, guests_dir, run_dir: None, call_deadline: Duration::from_secs(5), pool_size: 8 }
    }
}

/// libvirt on this host.
pub struct Libvirt {
    keeper: Keeper,
    pool: Pool,
    look: Look,
    run_dir: Option<PathBuf>,
    call_deadline: Duration,
    scan: Scan,
    starts: Starts,
    /// For reading the arguments of processes that are new.
    reads: Threads,
}

impl Libvirt {
    /// Prepares; connects only in [`Libvirt::run`], so it needs no libvirt to be there.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings { uri, guests_dir, run_dir, call_deadline, pool_size } = settings;
        let place = Place::of(&uri, run_dir)?;
        ffi::share_one_heap();
        start_event_loop().map_err(StartError::EventLoop)?;
        let supply =
            if place.is_in_process { Supply::Keeper(Mutex::default()) } else { Supply::Uri(uri.clone()) };
        Ok(Self {
            keeper: Keeper::new(uri),
            pool: Pool::new(supply, pool_size),
            look: Look::new(guests_dir, place.run_dir.clone()),
            run_dir: place.run_dir,
            call_deadline,
            scan: Scan::default(),
            starts: Starts::default(),
            reads: Threads::new(READS),
        })
    }

    /// Keeps the connection and its events. Never returns; belongs into the daemon's JoinSet.
    pub async fn run(&self) {
        self.keeper.run(&self.pool).await;
    }

    /// Waits out libvirt's own clean-up of the last run: while it lasts, a dead domain counts as running.
    async fn start_again(&self, permit: &Permit, recipe: &Recipe) -> Result<(), CallError> {
        let uuid = permit.target();
        loop {
            let (once, under_way) = (recipe.clone(), self.starts.begin(uuid));
            let start = move |connect: &_| {
                let _under_way = under_way; // as long as the call hangs
                act::start(connect, uuid, &once)
            };
            let started = self.pool.call((Lane::Act, uuid), START_DEADLINE, start).await?;
            if started == Started::Now || self.runs(permit.name().clone(), uuid).await {
                return Ok(());
            }
            tokio::time::sleep(START_AGAIN).await;
        }
    }

    /// Whether the domain has a living process, or needs none.
    async fn runs(&self, name: Name, uuid: Uuid) -> bool {
        let Some(run_dir) = self.run_dir.clone() else { return true };
        let read = move || process::instance_in_time(&run_dir, name.as_str(), uuid, None);
        matches!(self.reads.run(read).await, Ok(Sighting::Runs(_)))
    }
}

#[async_trait]
impl Hypervisor for Libvirt {
    fn is_connected(&self) -> bool {
        self.keeper.is_connected()
    }

    fn is_simulated(&self) -> bool {
        self.run_dir.is_none()
    }

    async fn changed(&self) -> Change {
        self.keeper.changed().await
    }

    async fn domains(&self) -> Result<Vec<Domain>, CallError> {
        let overview = self.pool.call((Lane::Look, ALL), LIST_DEADLINE, look::overview).await?;
        let overview = Arc::new(overview);
        let shares = if overview.count < MANY { 1 } else { SHARES };
        let one = |share| {
            let (look, overview) = (self.look.clone(), overview.clone());
            let all = move |connect: &_| look.all(connect, share, &overview);
            self.pool.call((Lane::Look, share.subject()), LIST_DEADLINE, all)
        };
        let domains = try_join_all(Share::all(shares).map(one)).await?.into_iter().flatten().collect();
        if shares > 1 {
            let _ = spawn_blocking(ffi::give_memory_back).await; // its thread cannot panic
        }
        Ok(domains)
    }

    async fn domain(&self, uuid: Uuid) -> Result<Domain, CallError> {
        let look = self.look.clone();
        self.pool.call((Lane::Look, uuid), self.call_deadline, move |connect| look.one(connect, uuid)).await
    }

    fn instance_now(&self, domain: &Domain) -> Sighting {
        let Some(run_dir) = self.run_dir.as_deref() else { return Sighting::Absent };
        process::instance_at_once(run_dir, domain.name.as_str(), domain.uuid, ended(domain))
            .unwrap_or(Sighting::Unsure)
    }

    async fn instance_read(&self, domain: &Domain) -> Sighting {
        let Some(run_dir) = self.run_dir.clone() else { return Sighting::Absent };
        let (name, uuid, ended) = (domain.name.clone(), domain.uuid, ended(domain));
        match process::instance_at_once(&run_dir, name.as_str(), uuid, ended) {
            Some(sighting) => sighting,
            None => {
                let read = move || process::instance_in_time(&run_dir, name.as_str(), uuid, ended);
                self.reads.run(read).await.unwrap_or(Sighting::Unsure)
            }
        }
    }

    fn named_now(&self) -> Option<BTreeSet<String>> {
        process::named_by_pid_files(self.run_dir.as_deref()?).ok()
    }

    async fn process_of(&self, uuid: Uuid, age: Duration) -> Sighting {
        self.scan.process_of(uuid, age).await
    }

    fn process_seen(&self, uuid: Uuid, age: Duration) -> Option<Sighting> {
        self.scan.process_seen(uuid, age)
    }

    async fn running(&self) -> Vec<Uuid> {
        self.scan.domains().await
    }

    fn instance_again(&self, id: InstanceId) -> Sighting {
        process::again(id)
    }

    async fn standing(&self, uuid: Uuid) -> Result<Standing, CallError> {
        let standing = move |connect: &_| look::standing(connect, uuid);
        self.pool.call((Lane::Decide, uuid), self.call_deadline, standing).await
    }

    async fn standing_for_a_look(&self, uuid: Uuid) -> Result<Standing, CallError> {
        let standing = move |connect: &_| look::standing(connect, uuid);
        self.pool.call((Lane::Look, uuid), self.call_deadline, standing).await
    }

    async fn job(&self, permit: &Permit, within: Duration) -> Result<Job, CallError> {
        let uuid = permit.target();
        self.pool.call((Lane::Decide, uuid), within, move |connect| act::job(connect, uuid)).await
    }

    async fn abort_job(&self, permit: &Permit) -> Result<(), CallError> {
        let uuid = permit.target();
        let abort = move |connect: &_| act::abort_job(connect, uuid);
        self.pool.call((Lane::Decide, uuid), self.call_deadline, abort).await?; // a stop may be under way
        // libvirt returns at once; the job ends up to some seconds later.
        while self.job(permit, self.call_deadline).await? == Job::Leaving {
            tokio::time::sleep(START_AGAIN).await;
        }
        Ok(())
    }

    async fn recipe(&self, permit: &Permit) -> Result<Recipe, CallError> {
        let uuid = permit.target();
        let recipe = move |connect: &_| act::recipe(connect, uuid);
        self.pool.call((Lane::Decide, uuid), self.call_deadline, recipe).await
    }

    async fn stop(&self, permit: &Permit, asked: Instant) -> Result<(), CallError> {
        let (uuid, interest) = (permit.target(), Arc::new(())); // of whoever waits here
        let wanted = Arc::downgrade(&interest);
        let stop = move |connect: &_| act::stop(connect, uuid, (asked, &wanted));
        self.pool.call((Lane::Act, uuid), STOP_DEADLINE, stop).await
    }

    async fn start(&self, permit: &Permit, recipe: &Recipe) -> Result<(), CallError> {
        match tokio::time::timeout(START_DEADLINE, self.start_again(permit, recipe)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Deadline(START_DEADLINE)),
        }
    }

    async fn no_start_is_under_way(&self, uuid: Uuid) {
        self.starts.none_of(uuid).await;
    }
}

/// The domain's process that is known to be gone.
fn ended(domain: &Domain) -> Option<InstanceId> {
    domain.instance.as_ref().filter(|known| known.process.is_gone()).map(|known| known.id)
}

/// One thread of the process runs libvirt's event loop, from before the first connection until the process ends.
fn start_event_loop() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        virt::error::clear_error_callback(); // libvirt would print each error itself
        virt::event::event_register_default_impl().map_err(|error| error.message().to_owned())?;
        let thread = std::thread::Builder::new().name("libvirt-events".to_owned());
        thread.spawn(run_event_loop).map(drop).map_err(|error| error.to_string())
    };
    STARTED.get_or_init(start).clone()
}

fn run_event_loop() {
    loop {
        if let Err(error) = virt::event::event_run_default_impl() {
            tracing::error!(error = error.message(), "libvirt's event loop fails: events may be late");
            std::thread::sleep(START_AGAIN);
        }
    }
}

/// Ends this process at once, also while threads are in libvirt's libraries.
pub fn end_process(code: u8) -> ! {
    ffi::end(code)
}

#[cfg(test)]
mod tests;
