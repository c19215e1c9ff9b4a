//! Domains as this host knows them: who they are, what they may use, and which process they are.
//!
//! In:  libvirt's XML and states, `/proc`. Out: [`Domain`] and [`Instance`].
//!
//! Invariant: a pid alone is never identity; an [`Instance`] is a process that was held while it was known alive.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use fence_vmchannel_protocol::Name;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Which process a domain runs as. Two equal ids are one run of the VM; after a restart the id is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId {
    /// The process id of QEMU.
    pub pid: i32,
    /// When that process started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
}

/// The running process of a domain, held in such a way that it cannot be mistaken for a later one.
#[async_trait]
pub trait Process: Send + Sync + fmt::Debug {
    /// Whether all its threads have exited. Costs one system call and never blocks.
    fn is_gone(&self) -> bool;
    /// Waits until [`Process::is_gone`]. Cancel safe.
    async fn gone(&self);
    /// Sends SIGKILL to just this process; an error where it has ended.
    fn kill(&self) -> std::io::Result<()>;
    /// Whether a socket's peer with this pid is this process.
    fn is_peer(&self, pid: i32) -> bool;
    /// What it is doing, for people: pid, state, wait channel.
    fn describe(&self) -> String;
}

/// One run of a domain.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its identity.
    pub id: InstanceId,
    /// Its process.
    pub process: Arc<dyn Process>,
}

impl PartialEq for Instance {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// What the host's own files say of a domain's process now.
#[derive(Debug, Clone, PartialEq)]
pub enum Sighting {
    /// It runs as this process.
    Runs(Instance),
    /// It was looked for, and it is not there.
    Absent,
    /// It could not be looked for: it may run.
    Unsure,
}

impl Sighting {
    /// The process, if it was seen.
    #[must_use]
    pub fn instance(self) -> Option<Instance> {
        if let Self::Runs(instance) = self { Some(instance) } else { None }
    }
}

/// What libvirt says of a domain, in the words that decide (docs/decisions/0001), not in libvirt's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Running, blocked, paused, in shutdown, suspended: it runs or can go on.
    Active,
    /// It is paused for the last moments of a migration: another host may run it before this one knows.
    Leaving,
    /// The guest crashed; its process may live.
    Crashed,
    /// Shut off.
    ShutOff,
    /// Shut off because it moved to another host.
    Moved,
    /// libvirt does not say.
    Unclear,
}

impl Standing {
    /// Whether libvirt takes it for running here.
    #[must_use]
    pub fn runs(self) -> bool {
        match self {
            Self::Active | Self::Leaving => true,
            Self::Crashed | Self::ShutOff | Self::Moved | Self::Unclear => false,
        }
    }
}

/// What a domain is busy with, as far as it decides whether its process's end means that it is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Nothing of the kind.
    None,
    /// It is migrating to another host.
    Leaving,
    /// It is migrating here from another host, where it still runs or may run again.
    Arriving,
    /// It is just being started. That may fail, also since another host runs it.
    Starting,
    /// It is just ending, for whatever reason.
    Ended,
}

/// How a channel reaches the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Port {
    /// A virtio-serial port with our target name.
    Virtio,
    /// A serial port (`ttyS1` in the guest).
    Serial,
}

/// Who listens on a channel's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The agent listens and QEMU connects.
    Connect,
    /// QEMU listens and the agent connects.
    Bind,
}

/// One channel of a domain that is ours to serve.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelSpec {
    /// How it reaches the guest.
    pub port: Port,
    /// Who listens.
    pub mode: Mode,
    /// The socket's path on the host, held once for all who have it.
    pub path: Arc<Path>,
}

/// The user and group that a domain's QEMU runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A domain of this host.
#[derive(Debug, Clone, PartialEq)]
pub struct Domain {
    /// Its UUID: the only key.
    pub uuid: Uuid,
    /// Its name on this host.
    pub name: Name,
    /// What libvirt said of it last.
    pub standing: Standing,
    /// Whether its definition outlives its run.
    pub persistent: bool,
    /// The cluster label of its metadata.
    pub cluster: Option<String>,
    /// The channels that are ours.
    pub channels: Vec<ChannelSpec>,
    /// Who its QEMU runs as, where known.
    pub owner: Option<Owner>,
    /// Its running process, where there is one.
    pub instance: Option<Instance>,
}

impl Domain {
    /// Whether its known instance still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| !instance.process.is_gone())
    }
}
