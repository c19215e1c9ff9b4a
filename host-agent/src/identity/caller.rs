//! Who may ask besides a guest in its own words: guests that use a legacy dialect, and peers on legacy networks.
//!
//! Invariant: a [`Peer`] is made of what the administrator wrote of an address; nothing that came from there is in it.

use fence_vmchannel_protocol::Name;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Asker, Guest};
use crate::domain::InstanceId;

/// In which words somebody asks, and over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// Lines, over the guest's own channel.
    #[default]
    V2,
    /// Structs, over the guest's own channel.
    Serial,
    /// Packets to a multicast group.
    Multicast,
    /// Packets over TCP.
    Tcp,
    /// Packets over vsock.
    Vsock,
}

impl Dialect {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::Serial => "serial",
            Self::Multicast => "multicast",
            Self::Tcp => "tcp",
            Self::Vsock => "vsock",
        }
    }

    /// Its word in the log, where only what is not v2 is named.
    #[must_use]
    pub fn legacy(self) -> Option<&'static str> {
        (!self.is_v2()).then(|| self.word())
    }

    /// Whether it is the one with request ids and evidence.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        *self == Self::V2
    }
}

/// A peer on a legacy network that is no guest of this host, or of which it is not known which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    uuid: Uuid,
    name: Name,
    cluster: String,
    dialect: Dialect,
}

impl Peer {
    /// The peer that the administrator put into this cluster. Its `name` (an address) is what the log calls it.
    #[must_use]
    pub fn new(name: Name, cluster: String, dialect: Dialect) -> Self {
        Self { uuid: uuid_of(&name), name, cluster, dialect }
    }

    /// The cluster whose members it may act on.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }
}

/// Tells peers apart, from each other and from all domains: version 8, which libvirt does not make.
fn uuid_of(name: &Name) -> Uuid {
    let folded = name.as_str().bytes().fold(0x6c65_6761_6379_u128, |sum, byte| {
        (sum ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
    });
    uuid::Builder::from_custom_bytes(folded.to_be_bytes()).into_uuid()
}

/// Whoever asks in a legacy dialect.
#[derive(Debug, Clone, PartialEq)]
pub enum Caller {
    /// A guest of this host.
    Guest(Guest),
    /// A peer on a network.
    Peer(Peer),
}

impl Caller {
    /// The asker of its orders. A peer has no process, so it is never condemned: where it is known which guest it is, it should
    /// be configured as that.
    #[must_use]
    pub fn asker(&self) -> Asker {
        match self {
            Self::Guest(guest) => guest.asker(),
            Self::Peer(Peer { uuid, name, dialect, .. }) => Asker {
                uuid: *uuid,
                name: name.clone(),
                instance: InstanceId { pid: 0, started: 0 },
                dialect: *dialect,
            },
        }
    }
}
