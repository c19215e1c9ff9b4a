//! What only the administrator can choose.
//!
//! In:  the command line. Out: [`Choices`].
//!
//! Invariant: nothing has a default that allows anything.

use std::str::FromStr;

use clap::ValueEnum;

/// What shall hold where every guest could fence every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OpenAs {
    /// Every guest with a channel may go on fencing every other.
    All,
    /// Only within the groups that are written, also those that fence_virtd overlooks, and within a cluster.conf.
    Groups,
    /// Nobody may fence anybody; allow it later by cluster labels or a policy.
    Refuse,
}

/// What shall hold for groups whose askers were known by their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AddressesAs {
    /// Every machine of the group may ask, over its own channel.
    Members,
    /// They may go on asking over the network: the listener is kept, for these addresses only.
    Keep,
    /// No machine may ask unless --address says whose address it is.
    Refuse,
}

/// Whose address it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressOf {
    /// An address or a context id (CID), as in the old file.
    pub address: String,
    /// The machine that has it, by name or UUID.
    pub machine: String,
}

impl FromStr for AddressOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((address, machine)) if !address.is_empty() && !machine.is_empty() => {
                Ok(Self { address: address.to_owned(), machine: machine.to_owned() })
            }
            Some(_) | None => Err("expected ADDRESS=DOMAIN, as in 192.168.1.1=web1".into()),
        }
    }
}

/// All choices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choices {
    /// For an open configuration.
    pub open_as: Option<OpenAs>,
    /// For groups with addresses.
    pub addresses_as: Option<AddressesAs>,
    /// For single addresses.
    pub addresses: Vec<AddressOf>,
}
