//! Asks libvirt about domains.
//!
//! In:  a connection. Out: [`Domain`]s and [`Standing`]s, or an error: an error never looks like a state.
//!
//! Invariant: blocking; runs on the pool's threads only.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain as Handle;
use virt_sys as sys;

use super::ffi;
use super::link::call_error;
use super::process::instance_in_time;
use crate::domain::{ChannelSpec, Domain, Mode, Standing};
use crate::domain_xml::{self, DomainXml, XmlError};
use crate::hypervisor::CallError;

/// So many problems are remembered as told.
const MAX_TOLD: usize = 1024;

/// Some of all domains: a long list is read on several connections at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    number: u128,
    of: u128,
}

impl Share {
    /// So many shares, which together are all domains.
    pub(super) fn all(of: u128) -> impl Iterator<Item = Self> {
        (0..of).map(move |number| Self { number, of })
    }

    /// What reading it is about: no domain.
    pub(super) fn subject(self) -> Uuid {
        Uuid::from_u128(1 + self.number)
    }

    fn has(self, uuid: Uuid) -> bool {
        uuid.as_u128() % self.of == self.number
    }
}

/// What libvirt tells of all domains at once: a question less about each of them.
#[derive(Debug)]
pub(super) struct Overview {
    standings: HashMap<Uuid, Standing>,
    transient: HashSet<Uuid>,
    /// How many domains there are, running or not.
    pub(super) count: usize,
}

pub(super) fn overview(connect: &Connect) -> Result<Overview, CallError> {
    let (active, defined) = (connect.num_of_domains(), connect.num_of_defined_domains());
    let count = active.map_err(call_error)?.saturating_add(defined.map_err(call_error)?);
    // A driver that cannot tell them all at once is asked about one after the other.
    let states = ffi::states(connect).unwrap_or_default();
    let standings = states.into_iter().map(|(uuid, state, reason)| (uuid, standing_by(state, reason)));
    Ok(Overview {
        standings: standings.collect(),
        transient: transient(connect)?,
        count: usize::try_from(count).unwrap_or(usize::MAX),
    })
}

/// How to look at a domain. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Look {
    guests_dir: Arc<PathBuf>,
    /// Where the pid files are, if there are processes.
    run_dir: Option<Arc<PathBuf>>,
    told: Arc<Mutex<HashSet<(Uuid, String)>>>,
}

impl Look {
    pub(super) fn new(guests_dir: PathBuf, run_dir: Option<PathBuf>) -> Self {
        Self { guests_dir: Arc::new(guests_dir), run_dir: run_dir.map(Arc::new), told: Arc::default() }
    }

    /// Every domain of this share of them. One that vanishes meanwhile is left out; so is one whose XML cannot be used, with a
    /// warning. Any other error fails the whole list, as a domain that is missing in it would pass for gone.
    pub(super) fn all(
        &self,
        connect: &Connect,
        share: Share,
        overview: &Overview,
    ) -> Result<Vec<Domain>, CallError> {
        let mut domains = Vec::new();
        for handle in connect.list_all_domains(0).map_err(call_error)? {
            let uuid = handle.get_uuid().map_err(call_error)?;
            if !share.has(uuid) {
                continue;
            }
            match self.listed(&handle, uuid, overview) {
                Ok(domain) => domains.extend(domain),
                Err(CallError::NoDomain) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(domains)
    }

    /// One of the list; `None` if its XML cannot be used.
    fn listed(&self, handle: &Handle, uuid: Uuid, overview: &Overview) -> Result<Option<Domain>, CallError> {
        let told = overview.standings.get(&uuid).copied();
        let persistent = match told {
            Some(_) => !overview.transient.contains(&uuid),
            None => handle.is_persistent().map_err(call_error)?, // it came later
        };
        let (standing, xml) = self.read(handle, persistent, told)?;
        let mut domain = match xml {
            Ok(xml) => self.domain(standing, persistent, xml),
            Err(error) => {
                self.tell(uuid, &error.to_string());
                return Ok(None);
            }
        };
        if told.is_some() && domain.instance.is_some() && !domain.standing.runs() {
            domain.standing = standing_of(handle)?; // it was started since all of them were asked about
        }
        Ok(Some(domain))
    }

    pub(super) fn one(&self, connect: &Connect, uuid: Uuid) -> Result<Domain, CallError> {
        let handle = Handle::lookup_by_uuid(connect, uuid).map_err(call_error)?;
        let persistent = handle.is_persistent().map_err(call_error)?;
        let (standing, xml) = self.read(&handle, persistent, None)?;
        let xml = xml.map_err(|error| CallError::Failed(error.to_string()))?;
        Ok(self.domain(standing, persistent, xml))
    }

    fn read(
        &self,
        handle: &Handle,
        persistent: bool,
        told: Option<Standing>,
    ) -> Result<(Standing, Result<DomainXml, XmlError>), CallError> {
        let standing = told.map_or_else(|| standing_of(handle), Ok)?;
        let parse = |flags| -> Result<_, CallError> {
            let text = handle.get_xml_desc(flags).map_err(call_error)?;
            Ok(domain_xml::parse(&text, &self.guests_dir))
        };
        let mut xml = parse(0)?;
        // A running domain that was just given its channel: the socket must be there before it can be plugged in.
        if let Ok(live) = &mut xml
            && standing == Standing::Active
            && persistent
            && live.cluster.is_some()
            && (live.channels.is_empty() || told.is_none())
            && let Ok(defined) = parse(sys::VIR_DOMAIN_XML_INACTIVE)?
        {
            let is_there = |path: &Path| live.channels.iter().any(|channel| *channel.path == *path);
            let is_new = |channel: &ChannelSpec| channel.mode == Mode::Connect && !is_there(&channel.path);
            let new: Vec<_> = defined.channels.into_iter().filter(is_new).collect();
            live.channels.extend(new);
        }
        Ok((standing, xml))
    }

    fn domain(&self, standing: Standing, persistent: bool, xml: DomainXml) -> Domain {
        let owner = xml.owner();
        let DomainXml { uuid, name, cluster, channels, problems, .. } = xml;
        problems.iter().for_each(|problem| self.tell(uuid, problem));
        let run_dir = self.run_dir.as_deref();
        let instance =
            run_dir.and_then(|run_dir| instance_in_time(run_dir, name.as_str(), uuid, None).instance());
        Domain { uuid, name, standing, persistent, cluster, channels, owner, instance }
    }

    /// Warns of each problem once.
    fn tell(&self, uuid: Uuid, problem: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        if told.insert((uuid, problem.to_owned())) {
            tracing::warn!(domain = %uuid, problem, "a domain is not served as its XML seems to ask");
        }
    }
}

fn transient(connect: &Connect) -> Result<HashSet<Uuid>, CallError> {
    let handles = connect.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_TRANSIENT).map_err(call_error)?;
    handles.iter().map(|handle| handle.get_uuid().map_err(call_error)).collect()
}

pub(super) fn standing(connect: &Connect, uuid: Uuid) -> Result<Standing, CallError> {
    standing_of(&Handle::lookup_by_uuid(connect, uuid).map_err(call_error)?)
}

fn is_leaving(reason: i32) -> bool {
    let leaving = [
        sys::VIR_DOMAIN_PAUSED_MIGRATION,
        sys::VIR_DOMAIN_PAUSED_POSTCOPY,
        sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED,
    ];
    u32::try_from(reason).is_ok_and(|reason| leaving.contains(&reason))
}

pub(super) fn standing_of(handle: &Handle) -> Result<Standing, CallError> {
    let (state, reason) = handle.get_state().map_err(call_error)?;
    Ok(standing_by(state, reason))
}

/// Whether it is just being started: that fails where its disk is in use, on another host too.
pub(super) fn is_starting(state: sys::virDomainState, reason: i32) -> bool {
    state == sys::VIR_DOMAIN_PAUSED && u32::try_from(reason) == Ok(sys::VIR_DOMAIN_PAUSED_STARTING_UP)
}

pub(super) fn standing_by(state: sys::virDomainState, reason: i32) -> Standing {
    match state {
        sys::VIR_DOMAIN_PAUSED if is_starting(state, reason) => Standing::Unclear,
        // The last moments of a migration: the other host may go on with it at any time.
        sys::VIR_DOMAIN_PAUSED if is_leaving(reason) => Standing::Leaving,
        sys::VIR_DOMAIN_RUNNING
        | sys::VIR_DOMAIN_BLOCKED
        | sys::VIR_DOMAIN_PAUSED
        | sys::VIR_DOMAIN_SHUTDOWN
        | sys::VIR_DOMAIN_PMSUSPENDED => Standing::Active,
        sys::VIR_DOMAIN_CRASHED => Standing::Crashed,
        sys::VIR_DOMAIN_SHUTOFF if u32::try_from(reason) == Ok(sys::VIR_DOMAIN_SHUTOFF_MIGRATED) => {
            Standing::Moved
        }
        sys::VIR_DOMAIN_SHUTOFF => Standing::ShutOff,
        _ => Standing::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_just_being_started_is_not_said_to_run_here() {
        let starting = i32::try_from(sys::VIR_DOMAIN_PAUSED_STARTING_UP).unwrap();
        let by_somebody = i32::try_from(sys::VIR_DOMAIN_PAUSED_USER).unwrap();

        assert_eq!(standing_by(sys::VIR_DOMAIN_PAUSED, starting), Standing::Unclear);
        assert_eq!(standing_by(sys::VIR_DOMAIN_PAUSED, by_somebody), Standing::Active);
    }
}
