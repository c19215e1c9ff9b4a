//! What is combined in the table of compatibility: clients, servers, ways, hashes, actions.
//!
//! In:  nothing. Out: every combination that can exist, each with its words in the table.

use crate::fence_virt::Hash;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Debian's fence_virt.
    FenceVirt,
    /// Debian's fence_xvm.
    FenceXvm,
    /// Ours, by the name of the one that speaks this way.
    Ours,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Our agent.
    Agent,
    /// Debian's fence_virtd.
    FenceVirtd,
}

/// The way between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A serial port of a real guest.
    Serial,
    /// An address in a real guest's user network.
    Guestfwd,
    /// Multicast by IPv4, the reply by TCP.
    MulticastV4,
    /// Multicast by IPv6, the reply by TCP.
    MulticastV6,
    /// TCP.
    Tcp,
    /// Virtual sockets, within one guest.
    Vsock,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Of a running target, and of a stopped one.
    Status,
    /// The targets.
    List,
    /// Whether the server can act.
    Monitor,
    /// Stop a running target.
    Off,
    /// Start a stopped target.
    On,
    /// Stop a running target and start it again.
    Reboot,
}

/// One row of the table: who speaks to whom, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Combination {
    /// Who asks.
    pub client: Client,
    /// Who answers.
    pub server: Server,
    /// The way between them.
    pub way: Way,
    /// How requests are signed and peers authenticated; [`Hash::None`] where the way knows no signatures.
    pub hash: Hash,
}

impl Client {
    const ALL: [Self; 3] = [Self::FenceVirt, Self::FenceXvm, Self::Ours];

    /// The program's name on this way.
    #[must_use]
    pub fn program(self, way: Way) -> &'static str {
        match (self, way) {
            (Self::FenceXvm, _) | (Self::Ours, Way::MulticastV4 | Way::MulticastV6) => "fence_xvm",
            (Self::FenceVirt | Self::Ours, _) => "fence_virt",
        }
    }

    fn speaks(self, way: Way) -> bool {
        let multicast = matches!(way, Way::MulticastV4 | Way::MulticastV6);
        match self {
            Self::FenceVirt => !multicast,
            Self::FenceXvm => multicast,
            Self::Ours => true,
        }
    }

    /// Its words in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::FenceVirt => "Debian's `fence_virt`",
            Self::FenceXvm => "Debian's `fence_xvm`",
            Self::Ours => "ours",
        }
    }
}

impl Server {
    pub(super) const ALL: [Self; 2] = [Self::Agent, Self::FenceVirtd];

    /// Its words in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "our agent",
            Self::FenceVirtd => "Debian's `fence_virtd`",
        }
    }
}

impl Way {
    const ALL: [Self; 6] =
        [Self::Serial, Self::Guestfwd, Self::MulticastV4, Self::MulticastV6, Self::Tcp, Self::Vsock];

    /// Whether requests are signed on it.
    #[must_use]
    pub fn is_signed(self) -> bool {
        !matches!(self, Self::Serial | Self::Guestfwd)
    }

    /// Whether a network in namespaces is enough for it.
    #[must_use]
    pub fn is_by_network(self) -> bool {
        matches!(self, Self::MulticastV4 | Self::MulticastV6 | Self::Tcp)
    }

    /// Its word in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Serial => "ttyS1",
            Self::Guestfwd => "guestfwd",
            Self::MulticastV4 => "multicast IPv4",
            Self::MulticastV6 => "multicast IPv6",
            Self::Tcp => "tcp",
            Self::Vsock => "vsock",
        }
    }
}

impl Action {
    /// All, in the order in which they are tried.
    pub const ALL: [Self; 6] = [Self::Status, Self::List, Self::Monitor, Self::Off, Self::On, Self::Reboot];

    /// Its word for every client, and in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::List => "list",
            Self::Monitor => "monitor",
            Self::Off => "off",
            Self::On => "on",
            Self::Reboot => "reboot",
        }
    }
}

impl Combination {
    /// All that can exist, in the table's order.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for way in Way::ALL {
            let hashes: &[Hash] = if way.is_signed() { &Hash::ALL } else { &[Hash::None] };
            for server in Server::ALL {
                for client in Client::ALL.into_iter().filter(|client| client.speaks(way)) {
                    all.extend(hashes.iter().map(|&hash| Self { client, server, way, hash }));
                }
            }
        }
        all
    }

    /// One for each client, server and way that is the same each time, with the hash that all of them take by default.
    #[must_use]
    pub fn representative() -> Vec<Self> {
        let mut all = Self::all();
        all.retain(|one| !one.way.is_signed() || one.hash == Hash::Sha256);
        // On a busy machine fence_virtd does not always connect to such a channel.
        all.retain(|one| (one.server, one.way) != (Server::FenceVirtd, Way::Guestfwd));
        all
    }

    /// The hash's word in the table.
    #[must_use]
    pub fn hash_word(self) -> &'static str {
        if self.way.is_signed() { self.hash.word() } else { "-" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_server_and_way_is_combined_where_the_client_speaks_that_way() {
        let all = Combination::all();

        assert_eq!(all.len(), 2 * (2 + 2) + 4 * 2 * (2 + 2 + 2 + 2));
        assert!(!all.iter().any(|one| one.client == Client::FenceXvm && one.way == Way::Tcp));
        assert_eq!(Combination::representative().len(), 2 * (2 + 2) - 2 + 2 * (2 + 2 + 2 + 2));
    }
}
