//! What the old configuration meant, as far as it decides who could fence whom.
//!
//! In:  the readers of the old files. Out: [`Before`].
//!
//! Invariant: it says what fence_virtd *does* with its file, not what its author may have hoped: a group that it
//! overlooks is hidden, and without a group that it sees everything is open.

use super::finding::Place;

/// How clients reached the old daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Listener {
    /// Datagrams to a group of addresses.
    #[default]
    Multicast,
    /// TCP.
    Tcp,
    /// Virtual machine sockets.
    Vsock,
    /// Serial ports or channels of the guests.
    Serial,
    /// Something else, or nothing.
    Unknown,
}

impl Listener {
    /// Whether askers were known by an address and not by their machine.
    pub(super) fn knows_addresses(self) -> bool {
        matches!(self, Self::Multicast | Self::Tcp | Self::Vsock)
    }
}

/// A machine or address of a group, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) place: Place,
}

/// A group of machines, and the addresses that could ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) members: Vec<Entry>,
    pub(super) addresses: Vec<Entry>,
}

/// Everything that decides.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) listener: Listener,
    /// The URI of libvirt, where one was given.
    pub(super) uri: Option<String>,
    /// The settings of its network listener: key in small letters, and text.
    pub(super) network: Vec<(String, String)>,
    /// The groups that hold.
    pub(super) groups: Vec<Group>,
    /// Groups that are written but overlooked.
    pub(super) hidden: Vec<Group>,
    /// The machines of each cluster of a cluster.conf.
    pub(super) clusters: Vec<Group>,
    /// How the guests' cluster software calls its nodes: node and machine.
    pub(super) nodes: Vec<(String, String)>,
    /// The delay of a node's fence device.
    pub(super) delays: Vec<(String, String)>,
}

impl Before {
    /// Whether every guest could fence every other.
    pub(super) fn is_open(&self) -> bool {
        self.groups.is_empty()
    }
}
