//! The `[legacy]` part of the settings: listeners for existing clients on a network, off by default.
//!
//! In:  what was written. Out: [`Legacy`], all of it valid.
//!
//! Invariant: an address that is not configured is nobody; a hash that is left out is a strong one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use fence_vmchannel_protocol::legacy::{Hash, PORT};
use fence_vmchannel_protocol::{Name, Target};
use serde::{Deserialize, Serialize};

use super::network::Network;

/// The part as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct LegacyPart {
    key_file: Option<PathBuf>,
    hash: Option<String>,
    auth: Option<String>,
    callback_networks: Vec<String>,
    listener: Vec<ListenerPart>,
    peer: Vec<PeerPart>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ListenerPart {
    kind: String,
    address: Option<IpAddr>,
    port: Option<u16>,
    interface: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PeerPart {
    address: Option<IpAddr>,
    cid: Option<u32>,
    guest: Option<String>,
    cluster: Option<String>,
}

/// Where existing clients may ask over a network, who they are, and what they must prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Legacy {
    written: LegacyPart,
    /// The shared key's file.
    #[serde(skip)]
    pub key_file: Option<PathBuf>,
    /// The weakest hash of a request that is taken.
    #[serde(skip)]
    pub hash: Hash,
    /// The hash of challenges and their answers.
    #[serde(skip)]
    pub auth: Hash,
    /// Where a multicast client may be answered.
    #[serde(skip)]
    pub callback_networks: Vec<Network>,
    /// Where to listen.
    #[serde(skip)]
    pub listeners: Vec<Listener>,
    /// Who may ask.
    #[serde(skip)]
    pub peers: Vec<PeerRule>,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listener {
    /// For packets to a multicast group, on one interface or on the one that the routes name.
    Multicast(SocketAddr, Option<String>),
    /// For TCP connections.
    Tcp(SocketAddr),
    /// For vsock connections to this port.
    Vsock(u32),
}

/// Where a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whence {
    /// At this address.
    Address(IpAddr),
    /// In the VM with this vsock context id.
    Cid(u32),
}

/// Who a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// This guest.
    Guest(Target),
    /// Somebody with the rights of this cluster label.
    Cluster(String),
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRule {
    /// Where it is.
    pub whence: Whence,
    /// Who it is.
    pub whom: Whom,
}

impl std::fmt::Display for Whence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Cid(cid) => write!(f, "cid {cid}"),
        }
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Multicast(group, None) => write!(f, "multicast {group}"),
            Self::Multicast(group, Some(interface)) => write!(f, "multicast {group} on {interface}"),
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Vsock(port) => write!(f, "vsock port {port}"),
        }
    }
}

impl LegacyPart {
    /// What holds, or what is wrong.
    pub(super) fn check(self) -> Result<Legacy, String> {
        let hash = hash("hash", self.hash.as_deref())?;
        let auth = self::hash("auth", self.auth.as_deref())?;
        if self.listener.is_empty() {
            return Err("[legacy] needs a [[legacy.listener]]; leave [legacy] out to listen nowhere".into());
        }
        if self.key_file.as_ref().is_some_and(|file| !file.is_absolute()) {
            return Err("legacy.key-file: expected an absolute path".into());
        }
        if self.key_file.is_none() && (hash, auth) != (Hash::None, Hash::None) {
            return Err("legacy.key-file is missing: without it nobody can be told from anybody".into());
        }
        let networks = self.callback_networks.iter().map(|text| text.parse());
        Ok(Legacy {
            key_file: self.key_file.clone(),
            hash,
            auth,
            callback_networks: networks.collect::<Result<_, String>>()?,
            listeners: self.listener.iter().map(ListenerPart::check).collect::<Result<_, String>>()?,
            peers: peers(&self.peer)?,
            written: self,
        })
    }
}

impl ListenerPart {
    fn check(&self) -> Result<Listener, String> {
        let at =
            |default: IpAddr| SocketAddr::new(self.address.unwrap_or(default), self.port.unwrap_or(PORT));
        let no_interface = || match &self.interface {
            Some(_) => Err("legacy.listener: only multicast has an interface".to_owned()),
            None => Ok(()),
        };
        match self.kind.as_str() {
            "multicast" => {
                let group = at(Ipv4Addr::new(225, 0, 0, 12).into());
                if !group.ip().is_multicast() {
                    return Err(format!("legacy.listener: {} is no multicast group", group.ip()));
                }
                Ok(Listener::Multicast(group, self.interface.clone()))
            }
            "tcp" => no_interface().map(|()| Listener::Tcp(at(Ipv4Addr::LOCALHOST.into()))),
            "vsock" if self.address.is_none() => {
                no_interface().map(|()| Listener::Vsock(self.port.unwrap_or(PORT).into()))
            }
            "vsock" => Err("legacy.listener: vsock has a port and no address".into()),
            other => Err(format!("legacy.listener: kind {other:?}: expected multicast, tcp or vsock")),
        }
    }
}

fn hash(key: &str, word: Option<&str>) -> Result<Hash, String> {
    word.map_or(Ok(Hash::Sha256), str::parse).map_err(|error| format!("legacy.{key}: {error}"))
}

fn peers(parts: &[PeerPart]) -> Result<Vec<PeerRule>, String> {
    let mut rules: Vec<PeerRule> = Vec::new();
    for part in parts {
        let whence = match (part.address, part.cid) {
            (Some(address), None) => Whence::Address(plain(address)),
            (None, Some(cid)) => Whence::Cid(cid),
            _ => return Err("legacy.peer: give an address or a cid".into()),
        };
        let whom = match (&part.guest, &part.cluster) {
            (Some(guest), None) => {
                Whom::Guest(guest.parse().map_err(|error| format!("legacy.peer {whence}: guest: {error}"))?)
            }
            (None, Some(label)) => {
                let label: Name =
                    label.parse().map_err(|error| format!("legacy.peer {whence}: cluster: {error}"))?;
                Whom::Cluster(label.to_string())
            }
            _ => return Err(format!("legacy.peer {whence}: give a guest or a cluster")),
        };
        if rules.iter().any(|rule| rule.whence == whence) {
            return Err(format!("legacy.peer {whence} is there twice: it is one guest, or in one cluster"));
        }
        rules.push(PeerRule { whence, whom });
    }
    Ok(rules)
}

/// An IPv4 address is the same one in IPv6's clothes.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => Ipv6Addr::to_canonical(&v6),
        IpAddr::V4(_) => address,
    }
}

impl Legacy {
    /// What the administrator is to know about these listeners, each time.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let open = self.listeners.iter().map(|listener| {
            format!("legacy: {listener} lets existing clients ask over a network; channels need none")
        });
        let multicast = self.listeners.iter().any(|listener| matches!(listener, Listener::Multicast(..)));
        let weak = |key: &str, hash: Hash, why: &str| {
            (hash < Hash::Sha256).then(|| format!("legacy: {key} = \"{hash}\": {why}; use sha256 or sha512"))
        };
        let others = [
            weak("hash", self.hash, "requests may be forged by who does not know the key"),
            weak(
                "auth",
                self.auth,
                "answers and recorded requests may be forged by who does not know the key",
            ),
            (multicast && self.callback_networks.is_empty()).then(|| {
                "legacy: callback-networks is empty: no multicast client is ever answered".to_owned()
            }),
            self.peers.is_empty().then(|| "legacy: there is no [[legacy.peer]]: nobody may ask".to_owned()),
        ];
        let by_cid = self.peers.iter().filter_map(|rule| match rule.whence {
            Whence::Cid(cid) => Some(cid),
            Whence::Address(_) => None,
        });
        let by_cid = by_cid.map(|cid| {
            format!(
                "legacy: peer cid {cid} is whichever VM has this CID: give its domain a fixed one, <cid auto='no' address='{cid}'/>; \
                 with auto='yes' libvirt counts CIDs in the order in which VMs start"
            )
        });
        let groups = self.peers.iter().filter(|rule| matches!(rule.whom, Whom::Cluster(_))).map(|rule| {
            format!(
                "legacy: peer {} is no known guest: it is not stopped from acting while it is itself being fenced; \
                 say which guest it is where you can",
                rule.whence
            )
        });
        let by_link = self.peers.iter().filter_map(|rule| match rule.whence {
            Whence::Address(IpAddr::V6(v6)) if v6.is_unicast_link_local() => Some(format!(
                "legacy: peer {v6} is whoever has this address on any link of this host: give it an address of its network"
            )),
            Whence::Address(_) | Whence::Cid(_) => None,
        });
        open.chain(others.into_iter().flatten()).chain(by_cid).chain(by_link).chain(groups).collect()
    }
}

#[cfg(test)]
#[path = "legacy_tests.rs"]
mod tests;
