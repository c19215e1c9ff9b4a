//! What guests may know of their host.
//!
//! In:  what the [`Keeper`] finds out beside everything else. Out: the answer to `host-status`, from memory.
//!
//! Invariant: a request reads what is known already; nothing is looked up, run or waited for because a guest asks. A
//! value that is older than it may be is not told, and neither is what a keeper left behind that is no more.

mod extract;
mod file;
mod host;
mod keeper;
mod maintenance;
mod program;
mod settings;
mod words;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fence_vmchannel_protocol::{AgentHealth, Attribute, HostStatus, LibvirtHealth, PlainText};
use tokio::time::Instant;

pub(crate) use extract::Format;
use host::Host;
pub use keeper::Keeper;
pub use maintenance::{FlagError, Maintenance};
pub(crate) use settings::SettingsTable;
pub use settings::{AttributeSettings, Settings, Source};
pub use words::Words;

/// The host is looked at every two seconds; what was seen longer ago than this is not told.
const HOST_VALID: Duration = Duration::from_secs(15);

/// What was found out last about one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    /// `None`: the source says nothing that can be told.
    value: Option<PlainText>,
    at: Instant,
}

/// What is known of the host; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Facts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    settings: Settings,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    host: Option<(Host, Instant)>,
    /// By their place in the settings.
    readings: Vec<Option<Reading>>,
}

impl Facts {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let readings = settings.attributes.iter().map(|_| None).collect();
        let known = Mutex::new(Known { host: None, readings });
        Self(Arc::new(Shared { settings, known }))
    }

    /// What a guest may know now.
    #[must_use]
    pub fn tell(&self, agent: AgentHealth, libvirt: LibvirtHealth, simulated: bool) -> HostStatus {
        let Shared { settings, known } = &*self.0;
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.host.as_ref().filter(|(_, at)| at.elapsed() <= HOST_VALID);
        let host = fresh.map(|(host, _)| host.clone()).unwrap_or_default();
        let attributes = settings.attributes.iter().zip(&known.readings);
        HostStatus {
            agent,
            libvirt,
            host: settings.host_name.clone().or(host.name).filter(|_| !settings.hides_host_name),
            maintenance: host.maintenance,
            load_percent: host.load_percent.filter(|_| !settings.hides_load),
            processors: host.processors.filter(|_| !settings.hides_load),
            uptime_s: host.uptime.map(|uptime| uptime.as_secs()).filter(|_| !settings.hides_uptime),
            attributes: attributes.map(|(attribute, reading)| told(attribute, reading.as_ref())).collect(),
            simulated,
        }
    }

    fn saw_host(&self, host: Host) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.host = Some((host, Instant::now()));
    }

    fn read(&self, place: usize, value: Option<PlainText>) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = known.readings.get_mut(place) {
            *reading = Some(Reading { value, at: Instant::now() });
        }
    }
}

fn told(attribute: &AttributeSettings, reading: Option<&Reading>) -> Attribute {
    let age = reading.map(|reading| reading.at.elapsed());
    let is_fresh = age.is_some_and(|age| age <= attribute.valid);
    Attribute {
        name: attribute.name.clone(),
        value: reading.and_then(|reading| reading.value.clone()).filter(|_| is_fresh),
        age_s: age.map(|age| age.as_secs()),
    }
}

#[cfg(test)]
mod tests;
