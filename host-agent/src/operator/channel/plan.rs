//! Decides what to change in a domain; changes nothing.
//!
//! In:  what the operator wants and what the domain's definitions hold. Out: [`Step`]s, or a [`Refusal`].
//!
//! Invariant: pure. What is already there is left alone, so doing the steps twice does nothing the second time.

use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use super::definition::{Definition, Device};
use super::ports::{device_xml, existing, is_ours, own_socket};
use crate::domain::{Mode, Port};
use crate::operator::table::shell_word;

/// The longest cluster label, in bytes.
const CLUSTER_BYTES: usize = 128;

/// Which of a domain's two definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scope {
    /// What its next start will use.
    Persistent,
    /// What runs now.
    Live,
}

/// Which part of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    /// The virtio port.
    Channel,
    /// The serial port.
    Serial,
    /// The cluster's label.
    Cluster,
}

/// A domain as libvirt knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) uuid: Uuid,
    /// None for a transient domain.
    pub(super) persistent: Option<Definition>,
    /// None while it does not run.
    pub(super) live: Option<Definition>,
}

/// What the operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) cluster: String,
    pub(super) port: Port,
    pub(super) mode: Mode,
    pub(super) move_cluster: bool,
    pub(super) guests_dir: PathBuf,
}

/// One change, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) part: Part,
    pub(super) scope: Scope,
    pub(super) change: Change,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Adds this device; the socket must exist first.
    Attach { xml: String, socket: Option<PathBuf> },
    /// Takes this device away.
    Detach { xml: String },
    /// Sets the label.
    SetCluster { cluster: String, before: Option<String> },
    /// Takes the label away.
    ClearCluster { before: String },
    /// Nothing to do.
    Already(String),
    /// Cannot be done while the domain runs; the persistent definition has it.
    Later(String),
}

/// Why nothing may be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The label is no label.
    #[error(
        "the cluster's name {0:?} cannot be used: it has 1 to {CLUSTER_BYTES} bytes and no control characters"
    )]
    BadCluster(String),
    /// It has another label.
    #[error("{domain} is in cluster {is:?}: to move it to {wanted:?}, say --move")]
    OtherCluster {
        /// The domain.
        domain: String,
        /// Its label.
        is: String,
        /// The label that was asked for.
        wanted: String,
    },
    /// It has our port with another socket.
    #[error(
        "{domain} has our port already, but {what}: `fence-vmchanneld channel remove --keep-cluster {}`, then add again",
        shell_word(domain)
    )]
    Occupied {
        /// The domain.
        domain: String,
        /// What it is instead.
        what: String,
    },
    /// Its second serial port is somebody else's.
    #[error(
        "{domain} uses its serial port 1 for something else ({what}): take that away with `virsh edit {}`, or use a virtio channel (without --serial)",
        shell_word(domain)
    )]
    SerialTaken {
        /// The domain.
        domain: String,
        /// What it is used for.
        what: String,
    },
    /// A transient domain cannot get it.
    #[error(
        "{domain} has no persistent definition and its running one cannot take the port ({why}): make it persistent with `virsh define`, or create it with the port in its XML"
    )]
    Transient {
        /// The domain.
        domain: String,
        /// What is missing.
        why: &'static str,
    },
}

pub(super) const NEXT_START: &str =
    "takes effect at the next full stop and start (a reboot inside is not enough)";

/// The steps that fulfil the wish. The persistent definition comes first: the agent then makes the socket that a live
/// change needs.
pub(super) fn to_add(known: &Known, wish: &Wish) -> Result<Vec<Step>, Refusal> {
    let mut steps = Vec::new();
    let mut wish = wish.clone();
    if let Some(definition) = &known.persistent {
        let change = match existing(known, definition, &wish)? {
            Some(there) => {
                wish.mode = there.mode; // both definitions shall be alike
                Change::Already(there.text)
            }
            None => Change::Attach { xml: device_xml(known, &wish), socket: None },
        };
        steps.push(Step { part: part(wish.port), scope: Scope::Persistent, change });
        steps.push(label(known, definition, &wish, Scope::Persistent)?);
    }
    if let Some(definition) = &known.live {
        steps.push(label(known, definition, &wish, Scope::Live)?);
        let change = add_live(known, definition, &wish)?;
        steps.push(Step { part: part(wish.port), scope: Scope::Live, change });
    }
    Ok(steps)
}

/// The steps that take everything of ours away; the label first, because it is the right to act.
pub(super) fn to_remove(known: &Known, keep_cluster: bool, guests_dir: &Path) -> Vec<Step> {
    let scopes = [(Scope::Live, &known.live), (Scope::Persistent, &known.persistent)];
    let scopes = || scopes.iter().filter_map(|(scope, definition)| Some((*scope, definition.as_ref()?)));
    let labels = scopes().filter(|_| !keep_cluster).map(|(scope, definition)| {
        let change = match &definition.cluster {
            Some(before) => Change::ClearCluster { before: before.clone() },
            None => Change::Already("has none".into()),
        };
        Step { part: Part::Cluster, scope, change }
    });
    let ports = scopes().flat_map(|(scope, definition)| {
        let ours: Vec<&Device> =
            definition.devices.iter().filter(|device| is_ours(device, guests_dir)).collect();
        let none = Step { part: Part::Channel, scope, change: Change::Already("has none".into()) };
        let none = ours.is_empty().then_some(none);
        ours.into_iter().map(move |device| detach(device, scope)).chain(none).collect::<Vec<_>>()
    });
    labels.chain(ports).collect()
}

fn detach(device: &Device, scope: Scope) -> Step {
    let part = part(device.port().unwrap_or(Port::Virtio));
    let change = match (part, scope) {
        (Part::Serial, Scope::Live) => {
            Change::Later(format!("a serial port cannot be unplugged: {NEXT_START}"))
        }
        _ => Change::Detach { xml: device.xml.clone() },
    };
    Step { part, scope, change }
}

fn add_live(known: &Known, definition: &Definition, wish: &Wish) -> Result<Change, Refusal> {
    let transient = |why| Refusal::Transient { domain: known.name.clone(), why };
    let later = |why: &'static str| match known.persistent {
        Some(_) => Ok(Change::Later(format!("{why}: {NEXT_START}"))),
        None => Err(transient(why)),
    };
    match existing(known, definition, wish) {
        Ok(Some(there)) => Ok(Change::Already(there.text)),
        Ok(None) if wish.port == Port::Serial => later("a serial port cannot be plugged in"),
        Ok(None) if !definition.has_virtio_serial => {
            later("the running domain has no virtio-serial controller")
        }
        Ok(None) if known.persistent.is_none() && wish.mode == Mode::Connect => {
            Err(transient("the agent makes sockets for defined domains only; --bind needs none"))
        }
        Ok(None) => {
            let socket = (wish.mode == Mode::Connect).then(|| own_socket(known, wish));
            Ok(Change::Attach { xml: device_xml(known, wish), socket })
        }
        Err(refusal) if known.persistent.is_none() => Err(refusal),
        Err(_) => later("the running domain has another port there"),
    }
}

fn label(known: &Known, definition: &Definition, wish: &Wish, scope: Scope) -> Result<Step, Refusal> {
    let change = match &definition.cluster {
        Some(is) if *is == wish.cluster => Change::Already(format!("already {is:?}")),
        Some(is) if !wish.move_cluster => {
            let (domain, wanted) = (known.name.clone(), wish.cluster.clone());
            return Err(Refusal::OtherCluster { domain, is: is.clone(), wanted });
        }
        before => Change::SetCluster { cluster: wish.cluster.clone(), before: before.clone() },
    };
    Ok(Step { part: Part::Cluster, scope, change })
}

fn part(port: Port) -> Part {
    match port {
        Port::Virtio => Part::Channel,
        Port::Serial => Part::Serial,
    }
}

pub(super) fn check_cluster(name: &str) -> Result<(), Refusal> {
    let fits = (1..=CLUSTER_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Refusal::BadCluster(name.to_owned())) }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
