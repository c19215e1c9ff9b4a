//! A network between a lab and a guest that is only a namespace: for the dialects that need one.
//!
//! In:  a lab. Out: a [`Network`]: two ends of a cable, and commands at the far end.
//!
//! Invariant: no packet leaves the two namespaces; both end with the lab.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use crate::error::Result;
use crate::lab::Lab;
use crate::programs::succeed;

/// The lab's end of the cable.
pub const INTERFACE: &str = "fvlhost";
const FAR_INTERFACE: &str = "fvlguest";
const FAR: &str = "guest";

/// The lab's IPv4 address (192.0.2.0/24 is for documentation and tests).
pub const HOST_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The far end's IPv4 address.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The lab's IPv6 address.
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1229, 0, 0, 0, 1);
/// The far end's IPv6 address.
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1229, 0, 0, 0, 2);

/// Where fence_xvm's clients send to by IPv4.
pub const GROUP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(225, 0, 0, 12));
/// Where fence_xvm's clients send to by IPv6.
pub const GROUP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 3, 1));

/// A cable from a lab to a namespace that stands for a guest.
#[derive(Debug)]
pub struct Network<'lab> {
    lab: &'lab Lab,
}

impl<'lab> Network<'lab> {
    /// Lays the cable. One for each lab.
    ///
    /// # Errors
    /// When the kernel has no veth, or `ip` is not installed.
    pub fn of(lab: &'lab Lab) -> Result<Self> {
        let network = Self { lab };
        let ip = |words: &str| succeed(lab.command("ip").args(words.split_whitespace())).map(drop);
        ip(&format!("netns add {FAR}"))?;
        ip(&format!("link add {INTERFACE} type veth peer name {FAR_INTERFACE} netns {FAR}"))?;
        ip(&format!("addr add {HOST_V4}/24 dev {INTERFACE}"))?;
        // nodad: the address is of use at once
        ip(&format!("addr add {HOST_V6}/64 dev {INTERFACE} nodad"))?;
        ip(&format!("link set {INTERFACE} up"))?;
        let far = |words: &str| ip(&format!("-n {FAR} {words}"));
        far(&format!("addr add {GUEST_V4}/24 dev {FAR_INTERFACE}"))?;
        far(&format!("addr add {GUEST_V6}/64 dev {FAR_INTERFACE} nodad"))?;
        far(&format!("link set {FAR_INTERFACE} up"))?;
        far("link set lo up")?;
        far(&format!("route add 224.0.0.0/4 dev {FAR_INTERFACE}"))?;
        Ok(network)
    }

    /// A command that will run at the far end.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.lab.command("nsenter");
        command.arg(format!("--net=/run/netns/{FAR}")).arg(program);
        command
    }
}
