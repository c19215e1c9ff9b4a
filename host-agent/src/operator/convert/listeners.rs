//! The network listener that goes on, by choice: the `[legacy]` part of the new settings.
//!
//! In:  the old listener's settings, the addresses that may ask. Out: TOML.
//!
//! Invariant: only single addresses may ask; nothing weaker than sha256 is written, whatever the old file said.

use std::net::IpAddr;

use super::before::{Before, Listener};
use super::files::quoted;
use super::network::DEFAULT_KEY_FILE;

/// Who may ask over the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) whence: Whence,
    pub(super) whom: Whom,
}

/// Where a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whence {
    Address(IpAddr),
    Cid(u32),
}

/// Who a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whom {
    /// This machine.
    Machine(String),
    /// Nobody else has this label.
    Label(String),
}

impl Whence {
    /// What the old file calls `ip`; `None` where the listener knows nobody of this kind.
    pub(super) fn read(listener: Listener, text: &str) -> Option<Self> {
        match listener {
            Listener::Multicast | Listener::Tcp => {
                text.parse().ok().map(|address: IpAddr| Self::Address(address.to_canonical()))
            }
            Listener::Vsock => text.parse().ok().map(Self::Cid),
            Listener::Serial | Listener::Unknown => None,
        }
    }

    fn line(self) -> String {
        match self {
            Self::Address(address) => format!("address = \"{address}\"\n"),
            Self::Cid(cid) => format!("cid = {cid}\n"),
        }
    }
}

/// The part of the settings; nothing without peers, since nobody could ask.
pub(super) fn part(before: &Before, peers: &[Peer]) -> String {
    let get = |key: &str| before.network.iter().rev().find(|(k, _)| k == key).map(|(_, text)| text.as_str());
    let (kind, default) = match (before.listener, get("family").map(str::to_ascii_lowercase).as_deref()) {
        (Listener::Multicast, Some("ipv6")) => ("multicast", Some("ff05::3:1")),
        (Listener::Multicast, _) => ("multicast", None),
        (Listener::Tcp, Some("ipv6")) => ("tcp", Some("::1")),
        (Listener::Tcp, _) => ("tcp", None),
        (Listener::Vsock, _) => ("vsock", None),
        (Listener::Serial | Listener::Unknown, _) => return String::new(),
    };
    if peers.is_empty() {
        return String::new();
    }
    let hash = |key: &str| match get(key).map(str::to_ascii_lowercase).as_deref() {
        Some("sha512") => format!("{key} = \"sha512\"\n"),
        _ => format!("{key} = \"sha256\"\n"),
    };
    let key_file = quoted(get("key_file").unwrap_or(DEFAULT_KEY_FILE));
    let mut text = format!("\n[legacy]\nkey-file = {key_file}\n{}{}", hash("hash"), hash("auth"));
    if kind == "multicast" {
        let networks: Vec<String> = peers.iter().filter_map(|peer| network(peer.whence)).collect();
        text.push_str(&format!("callback-networks = [{}]\n", networks.join(", ")));
    }
    text.push_str(&format!("\n[[legacy.listener]]\nkind = \"{kind}\"\n"));
    if let Some(address) = get("address").filter(|_| kind != "vsock").or(default) {
        text.push_str(&format!("address = {}\n", quoted(address)));
    }
    if let Some(port) = get("port").and_then(|port| port.parse::<u16>().ok()) {
        text.push_str(&format!("port = {port}\n"));
    }
    if let Some(interface) = get("interface").filter(|_| kind == "multicast") {
        text.push_str(&format!("interface = {}\n", quoted(interface)));
    }
    for peer in peers {
        let whom = match &peer.whom {
            Whom::Machine(machine) => format!("guest = {}\n", quoted(machine)),
            Whom::Label(label) => format!("cluster = {}\n", quoted(label)),
        };
        text.push_str(&format!("\n[[legacy.peer]]\n{}{whom}", peer.whence.line()));
    }
    text
}

/// A client may be called back at its own address only.
fn network(whence: Whence) -> Option<String> {
    match whence {
        Whence::Address(address) if address.is_ipv4() => Some(format!("\"{address}/32\"")),
        Whence::Address(address) => Some(format!("\"{address}/128\"")),
        Whence::Cid(_) => None,
    }
}
