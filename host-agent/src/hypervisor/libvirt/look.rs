//! Asks libvirt about domains.
//!
//! In:  a connection. Out: [`Domain`]s and [`Standing`]s, or an error: an error never looks like a state.
//!
//! Invariant: blocking; runs on the pool's threads only.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain as Handle;
use virt_sys as sys;

use super::link::call_error;
use super::process::instance_in_time;
use crate::domain::{Domain, Mode, Standing};
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

    fn has(self, uuid: Uuid) -> bool {
        uuid.as_u128() % self.of == self.number
    }
}

/// How many domains there are, running or not.
pub(super) fn count(connect: &Connect) -> Result<u32, CallError> {
    let active = connect.num_of_domains().map_err(call_error)?;
    Ok(active.saturating_add(connect.num_of_defined_domains().map_err(call_error)?))
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
    pub(super) fn all(&self, connect: &Connect, share: Share) -> Result<Vec<Domain>, CallError> {
        let handles = connect.list_all_domains(0).map_err(call_error)?;
        let transient = transient(connect)?;
        let mut domains = Vec::new();
        for handle in handles {
            let uuid = handle.get_uuid().map_err(call_error)?;
            if !share.has(uuid) {
                continue;
            }
            let persistent = !transient.contains(&uuid);
            match self.read(&handle, persistent) {
                Ok((standing, Ok(xml))) => {
                    domains.push(self.domain(standing, persistent, xml));
                }
                Ok((_, Err(error))) => self.tell(uuid, &error.to_string()),
                Err(CallError::NoDomain) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(domains)
    }

    pub(super) fn one(&self, connect: &Connect, uuid: Uuid) -> Result<Domain, CallError> {
        let handle = Handle::lookup_by_uuid(connect, uuid).map_err(call_error)?;
        let persistent = handle.is_persistent().map_err(call_error)?;
        let (standing, xml) = self.read(&handle, persistent)?;
        let xml = xml.map_err(|error| CallError::Failed(error.to_string()))?;
        Ok(self.domain(standing, persistent, xml))
    }

    fn read(
        &self,
        handle: &Handle,
        persistent: bool,
    ) -> Result<(Standing, Result<DomainXml, XmlError>), CallError> {
        let standing = standing_of(handle)?;
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
            && live.channels.is_empty()
            && let Ok(defined) = parse(sys::VIR_DOMAIN_XML_INACTIVE)?
        {
            live.channels
                .extend(defined.channels.into_iter().filter(|channel| channel.mode == Mode::Connect));
        }
        Ok((standing, xml))
    }

    fn domain(&self, standing: Standing, persistent: bool, xml: DomainXml) -> Domain {
        let DomainXml { uuid, name, cluster, channels, owner, problems } = xml;
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
    Ok(match state {
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
    })
}
