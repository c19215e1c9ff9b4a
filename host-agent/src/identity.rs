//! Who asks: the only place where a [`Guest`] is made.
//!
//! In:  a connected socket of a domain's channel; for legacy networks, what the administrator wrote of an address. Out: the
//! [`Guest`] behind it, a [`Peer`], or a [`Stranger`].
//!
//! Invariant: the peer's pid, told by the kernel, is the pid of the domain's running instance. All QEMU processes share
//! one uid, so neither the uid nor the path is identity, and nothing in the bytes can name the asker.

mod caller;

use fence_vmchannel_protocol::Name;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{Domain, Instance, InstanceId};
use crate::hypervisor::Hypervisor;
use crate::policy::Signer;
pub use caller::{Caller, Dialect, Peer};

/// A guest that was recognised by its socket.
#[derive(Debug, Clone, PartialEq)]
pub struct Guest {
    uuid: Uuid,
    name: Name,
    instance: Instance,
    /// The key that this request of it was signed with.
    signer: Option<Signer>,
    dialect: Dialect,
}

/// Who asked for an order: a guest without its process, which may be gone before the order ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    uuid: Uuid,
    name: Name,
    instance: InstanceId,
    #[serde(default, skip_serializing_if = "Dialect::is_v2")]
    dialect: Dialect,
}

impl Asker {
    /// Its domain's UUID.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Its domain's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// How it asked.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The run of its domain that asked.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }
}

/// A peer that is not the domain's QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// The domain does not run.
    #[error("the domain does not run")]
    NotRunning,
    /// The domain's QEMU is another process.
    #[error("the domain's QEMU is pid {expected}")]
    NotQemu {
        /// The pid that it should be.
        expected: i32,
    },
}

impl Guest {
    /// The guest of this domain, if the peer's pid is that of its running instance.
    pub fn recognise(hypervisor: &dyn Hypervisor, domain: &Domain, peer_pid: i32) -> Result<Self, Stranger> {
        let instance = running(hypervisor, domain)?;
        if !instance.process.is_peer(peer_pid) {
            return Err(Stranger::NotQemu { expected: instance.id.pid });
        }
        Ok(Self::of(domain, instance, Dialect::V2))
    }

    /// The same guest, asking with the right of this key.
    #[must_use]
    pub fn signing(&self, signer: Signer) -> Self {
        Self { signer: Some(signer), ..self.clone() }
    }

    /// The key that it asks with.
    #[must_use]
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// The guest of this domain, as whom the administrator lets an address of a legacy network ask: it must run.
    pub fn behind(hypervisor: &dyn Hypervisor, domain: &Domain, dialect: Dialect) -> Result<Self, Stranger> {
        Ok(Self::of(domain, running(hypervisor, domain)?, dialect))
    }

    fn of(domain: &Domain, instance: Instance, dialect: Dialect) -> Self {
        Self { uuid: domain.uuid, name: domain.name.clone(), instance, signer: None, dialect }
    }

    /// The same guest, asking in this dialect.
    #[must_use]
    pub fn speaking(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    /// Its domain's UUID.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Its domain's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The process that it runs as.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// This guest as the asker of an order.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker { uuid: self.uuid, name: self.name.clone(), instance: self.instance.id, dialect: self.dialect }
    }
}

fn running(hypervisor: &dyn Hypervisor, domain: &Domain) -> Result<Instance, Stranger> {
    let known = domain.instance.clone().filter(|instance| !instance.process.is_gone());
    known.or_else(|| hypervisor.instance_now(domain).instance()).ok_or(Stranger::NotRunning)
}
