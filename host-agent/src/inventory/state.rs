//! Whether a domain runs: the one table that `status` and `list` both answer from (docs/decisions/0001).
//!
//! In:  what is known of a domain, its process now. Out: on, off, or the reason why nothing can be said.
//!
//! Invariant: `off` needs libvirt's word over a connection that stands *and* that no process of it is there now, neither by
//! libvirt's pid file nor among all processes of the host. Anything less is not off.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fence_vmchannel_protocol::{PowerState, Reason};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::Inventory;
use crate::domain::{Domain, Sighting, Standing};
use crate::hypervisor::{CallError, Hypervisor};

/// What can be said without waiting for anybody; `None` where the host must be looked at first.
#[must_use]
pub fn glance(hypervisor: &dyn Hypervisor, domain: &Domain) -> Option<Result<PowerState, Reason>> {
    if domain.is_alive() {
        return Some(Ok(PowerState::On));
    }
    by_its_files(hypervisor, domain, &hypervisor.instance_now(domain))
}

/// Whether libvirt's files tell of a process of it, where they were just listed.
fn is_named(domain: &Domain, named: Option<&BTreeSet<String>>) -> bool {
    named.is_none_or(|named| named.contains(domain.name.as_str()))
}

/// What can be said of a domain whose files tell of this process.
fn by_its_files(
    hypervisor: &dyn Hypervisor,
    domain: &Domain,
    process: &Sighting,
) -> Option<Result<PowerState, Reason>> {
    match process {
        Sighting::Runs(_) => Some(Ok(PowerState::On)),
        Sighting::Unsure => None,
        Sighting::Absent if !hypervisor.is_connected() => Some(Err(Reason::UnknownState)),
        Sighting::Absent if domain.standing == Standing::Moved => Some(Err(Reason::Moved)),
        Sighting::Absent => None,
    }
}

/// The same once its files were read; where they cannot be, nothing can be said.
async fn read_its_files(
    hypervisor: &dyn Hypervisor,
    domain: &Domain,
    named: Option<&BTreeSet<String>>,
) -> Option<Result<PowerState, Reason>> {
    if domain.is_alive() {
        return Some(Ok(PowerState::On));
    }
    if !is_named(domain, named) {
        return by_its_files(hypervisor, domain, &Sighting::Absent);
    }
    match hypervisor.instance_read(domain).await {
        Sighting::Unsure => Some(Err(Reason::UnknownState)),
        process @ (Sighting::Runs(_) | Sighting::Absent) => by_its_files(hypervisor, domain, &process),
    }
}

/// What is known of all domains, now and later.
type Known = watch::Receiver<Arc<Inventory>>;

/// What can be said after looking for a process among all of the host's, and asking libvirt where its last word does not
/// fit. Bounded by the hypervisor's own deadlines.
pub async fn look(hypervisor: &dyn Hypervisor, known: &Known, domain: &Domain) -> Result<PowerState, Reason> {
    look_among(hypervisor, known, domain, None).await
}

async fn look_among(
    hypervisor: &dyn Hypervisor,
    known: &Known,
    domain: &Domain,
    named: Option<&BTreeSet<String>>,
) -> Result<PowerState, Reason> {
    if let Some(seen) = read_its_files(hypervisor, domain, named).await {
        return seen;
    }
    let standing = match domain.standing {
        Standing::ShutOff => Standing::ShutOff,
        Standing::Active | Standing::Leaving | Standing::Crashed | Standing::Moved | Standing::Unclear => {
            // One that libvirt's files do not tell of is no reason to wait for libvirt.
            if let Sighting::Runs(_) = hypervisor.process_of(domain.uuid, RECENTLY).await {
                return Ok(PowerState::On);
            }
            let standing = settled_for_a_look(hypervisor, domain).await.map_err(|_| Reason::UnknownState)?;
            if let Some(seen) = read_its_files(hypervisor, domain, None).await {
                return seen; // it was started meanwhile
            }
            standing
        }
    };
    let process = hypervisor.process_of(domain.uuid, RECENTLY).await;
    by_all_processes(hypervisor, known, (domain.uuid, standing), &process)
}

/// What can be said of a domain that its files tell no process of, by libvirt's word and a look at all processes.
fn by_all_processes(
    hypervisor: &dyn Hypervisor,
    known: &Known,
    (uuid, standing): (Uuid, Standing),
    process: &Sighting,
) -> Result<PowerState, Reason> {
    match (standing, process) {
        (_, Sighting::Runs(_)) => Ok(PowerState::On),
        // It may have been seen to leave while others were asked.
        (Standing::ShutOff, Sighting::Absent) if known.borrow().elsewhere().contains(&uuid) => {
            Err(Reason::Moved)
        }
        (Standing::ShutOff, Sighting::Absent) => Ok(PowerState::Off),
        (Standing::Moved, Sighting::Absent) => Err(Reason::Moved),
        // A driver without processes: all there is is its word.
        (Standing::Active, Sighting::Absent) if hypervisor.is_simulated() => Ok(PowerState::On),
        _ => Err(Reason::UnknownState),
    }
}

/// The same at once, of one that runs or is shut off, as nearly all of a long list do; `None` where that has to wait.
fn look_at_once(
    hypervisor: &dyn Hypervisor,
    known: &Known,
    domain: &Domain,
    named: Option<&BTreeSet<String>>,
) -> Option<Result<PowerState, Reason>> {
    if domain.is_alive() {
        return Some(Ok(PowerState::On));
    }
    if domain.standing != Standing::ShutOff || is_named(domain, named) {
        return None;
    }
    by_its_files(hypervisor, domain, &Sighting::Absent).or_else(|| {
        let process = hypervisor.process_seen(domain.uuid, RECENTLY)?;
        Some(by_all_processes(hypervisor, known, (domain.uuid, domain.standing), &process))
    })
}

/// What can be said of each of many domains within `patience`; `None` where that is nothing. Goes in small parts: a question
/// about thousands holds nobody else up, and takes memory only for those that are waited for. `named` is
/// [`Hypervisor::named_now`], asked since the question came.
pub async fn look_at_all(
    hypervisor: &dyn Hypervisor,
    known: &Known,
    (domains, named): (&[Arc<Domain>], Option<&BTreeSet<String>>),
    patience: Duration,
) -> Vec<Option<PowerState>> {
    let until = Instant::now() + patience;
    let said = |seen: Result<Result<PowerState, Reason>, Elapsed>| seen.ok().and_then(Result::ok);
    let mut states = vec![None; domains.len()];
    for (part, states) in domains.chunks(PART).zip(states.chunks_mut(PART)) {
        let mut slow = FuturesUnordered::new();
        for (domain, state) in part.iter().zip(states) {
            if let Some(seen) = look_at_once(hypervisor, known, domain, named) {
                *state = seen.ok();
                continue;
            }
            let mut looking = Box::pin(look_among(hypervisor, known, domain, named));
            match poll_fn(|context| Poll::Ready(looking.as_mut().poll(context))).await {
                Poll::Ready(seen) => *state = seen.ok(),
                Poll::Pending => slow.push(async move { *state = said(timeout_at(until, looking).await) }),
            }
        }
        while slow.next().await.is_some() {}
        yield_now().await;
    }
    states
}

/// So many domains are looked at at a time.
const PART: usize = 64;
/// How old a look at all processes may be for an answer that changes nothing.
const RECENTLY: Duration = Duration::from_millis(100);
/// How long libvirt may take to notice that a process is gone; its own clean-up takes about 0.3 s.
const SETTLE: Duration = Duration::from_secs(3);
/// How soon it is asked again meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(25);

/// libvirt's fresh word on a domain without a process, for an order, once libvirt has noticed that there is none. A domain that is
/// known to have moved has moved, although libvirt forgets it at its restart. `heard` is called each time that libvirt answers.
pub async fn settled(
    hypervisor: &dyn Hypervisor,
    domain: &Domain,
    heard: impl Fn() + Send,
) -> Result<Standing, CallError> {
    settle(hypervisor, domain, || hypervisor.standing(domain.uuid), heard).await
}

async fn settled_for_a_look(hypervisor: &dyn Hypervisor, domain: &Domain) -> Result<Standing, CallError> {
    settle(hypervisor, domain, || hypervisor.standing_for_a_look(domain.uuid), || ()).await
}

async fn settle<Asked: Future<Output = Result<Standing, CallError>>>(
    hypervisor: &dyn Hypervisor,
    domain: &Domain,
    ask: impl Fn() -> Asked,
    heard: impl Fn(),
) -> Result<Standing, CallError> {
    let until = Instant::now() + SETTLE;
    let mut was_going = matches!(domain.standing, Standing::Moved | Standing::Leaving);
    loop {
        let standing = ask().await?;
        heard();
        was_going |= standing == Standing::Leaving;
        let may_run = standing.runs() || standing == Standing::Unclear;
        let noticed = !may_run || hypervisor.instance_read(domain).await != Sighting::Absent;
        if noticed || hypervisor.is_simulated() || Instant::now() > until {
            let moved = was_going && standing == Standing::ShutOff;
            return Ok(if moved { Standing::Moved } else { standing });
        }
        sleep(ASK_AGAIN).await;
    }
}
