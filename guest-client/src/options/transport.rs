//! The way to the host, and what is needed to take it.
//!
//! In:  options as they were written. Out: a [`Transport`] in which every field is usable.
//!
//! Invariant: a number, an address or a hash that cannot be right is an error here, before anything is opened.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{OptionsError, Personality};

const SERIAL_DEVICE: &str = "/dev/ttyS1";
const KEY_FILE: &str = "/etc/cluster/fence_xvm.key";
const PORT: u16 = 1229;
const MULTICAST_V4: Ipv4Addr = Ipv4Addr::new(225, 0, 0, 12);
const MULTICAST_V6: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 3, 1);
/// vsock's own words for "no host", "the hypervisor" and "this machine" end below this.
const CID_HOST: u32 = 2;

/// The way to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// This guest's own channel, in this project's words: the virtio port, or the device that was named.
    Channel {
        /// The device, where it was named.
        device: Option<PathBuf>,
        /// The key that signs the requests.
        key_file: Option<PathBuf>,
        /// Its name, where it is not the file's.
        key_id: Option<String>,
    },
    /// The legacy dialect over a serial port.
    Serial {
        /// The serial port.
        device: PathBuf,
        /// How it is set.
        params: SerialParams,
    },
    /// The legacy serial dialect over TCP to an address that QEMU forwards into a channel.
    Guestfwd {
        /// The address that QEMU forwards.
        address: IpAddr,
        /// Its port.
        port: u16,
    },
    /// A request by multicast; the host connects back.
    Multicast {
        /// The group.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// The time between two repetitions.
        retransmit: Duration,
        /// How both sides prove themselves.
        credentials: Credentials,
    },
    /// A TCP connection to the host.
    Tcp {
        /// The host.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// How both sides prove themselves.
        credentials: Credentials,
    },
    /// A vsock connection to the host.
    Vsock {
        /// The context id, 2 for the host.
        cid: u32,
        /// Its port.
        port: u32,
        /// How both sides prove themselves.
        credentials: Credentials,
    },
}

/// A shared key and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The hash of challenge and response.
    pub auth: Strength,
    /// The hash over the request.
    pub hash: Strength,
    /// Where the key is.
    pub key_file: PathBuf,
}

/// A hash of the legacy network dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Nothing is hashed.
    None,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a serial port is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialParams {
    /// Bits per second.
    pub speed: u32,
    /// Data bits, 5 to 8.
    pub data_bits: u8,
    /// The parity bit.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
}

/// The parity bit of a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// There is none.
    None,
    /// Odd.
    Odd,
    /// Even.
    Even,
}

/// The way to the host, as it was written.
#[derive(Debug, Default)]
pub(super) struct WrittenTransport {
    pub(super) device: Option<PathBuf>,
    pub(super) serial_params: Option<String>,
    pub(super) channel_address: Option<String>,
    pub(super) ipport: Option<String>,
    pub(super) ipaddr: Option<String>,
    pub(super) vsock: Option<String>,
    pub(super) multicast_address: Option<String>,
    pub(super) ip_family: Option<String>,
    pub(super) retrans: Option<String>,
    pub(super) auth: Option<String>,
    pub(super) hash: Option<String>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) key_id: Option<String>,
}

impl WrittenTransport {
    /// The transport, and whether any option asked for it.
    pub(super) fn check(&self, personality: Personality) -> Result<(Transport, bool), OptionsError> {
        Ok(match personality {
            Personality::Vmchannel => {
                let (device, key_file) = (self.device.clone(), self.key_file.clone());
                (Transport::Channel { device, key_file, key_id: self.key_id.clone() }, true)
            }
            Personality::Virt => self.virt()?,
            Personality::Xvm => self.xvm()?,
        })
    }

    /// Where several ways are named, the one that fence_virt would take.
    fn virt(&self) -> Result<(Transport, bool), OptionsError> {
        let port = self.port()?;
        let cid = number("vsock", self.vsock.as_ref(), 0_u32, "a context id, 2 for the host", |_| true)?;
        if cid >= CID_HOST {
            return Ok((Transport::Vsock { cid, port: port.into(), credentials: self.credentials()? }, true));
        }
        if let Some(address) = &self.ipaddr {
            let address = ip_address("ipaddr", address)?;
            return Ok((Transport::Tcp { address, port, credentials: self.credentials()? }, true));
        }
        if let (Some(address), None) = (&self.channel_address, &self.device) {
            return Ok((
                Transport::Guestfwd { address: ip_address("channel_address", address)?, port },
                true,
            ));
        }
        let params = self.serial_params.as_deref().map_or(Ok(SerialParams::default()), str::parse)?;
        let device = self.device.clone().unwrap_or_else(|| SERIAL_DEVICE.into());
        Ok((Transport::Serial { device, params }, self.device.is_some()))
    }

    fn xvm(&self) -> Result<(Transport, bool), OptionsError> {
        let port = self.port()?;
        let address = match &self.multicast_address {
            Some(address) => Some(ip_address("multicast_address", address)?),
            None => None,
        };
        let family = self.ip_family.as_deref().map(str::to_ascii_lowercase);
        let address = match (family.as_deref().unwrap_or("auto"), address) {
            ("auto", Some(address)) => address,
            ("auto" | "ipv4", None) => MULTICAST_V4.into(),
            ("ipv6", None) => MULTICAST_V6.into(),
            ("ipv4", Some(address)) if address.is_ipv4() => address,
            ("ipv6", Some(address)) if address.is_ipv6() => address,
            (family, _) => {
                return Err(wrong("ip_family", family, "auto, ipv4 or ipv6, as the multicast address is"));
            }
        };
        if !address.is_multicast() {
            let must = "a multicast address, for example 225.0.0.12 or ff05::3:1";
            return Err(wrong("multicast_address", &address.to_string(), must));
        }
        let tenths =
            number("retrans", self.retrans.as_ref(), 20_u32, "tenths of a second from 1 to 600", |n| {
                (1..=600).contains(n)
            })?;
        let retransmit = Duration::from_millis(u64::from(tenths) * 100);
        let named = self.multicast_address.is_some() || self.ip_family.is_some();
        let credentials = self.credentials()?;
        Ok((Transport::Multicast { address, port, retransmit, credentials }, named))
    }

    fn port(&self) -> Result<u16, OptionsError> {
        number("ipport", self.ipport.as_ref(), PORT, "a port from 1 to 65535", |port| *port > 0)
    }

    fn credentials(&self) -> Result<Credentials, OptionsError> {
        let strength = |option, text: &Option<String>| {
            let text = text.as_deref().unwrap_or("sha256");
            Strength::named(text).ok_or_else(|| wrong(option, text, "none, sha1, sha256 or sha512"))
        };
        Ok(Credentials {
            auth: strength("auth", &self.auth)?,
            hash: strength("hash", &self.hash)?,
            key_file: self.key_file.clone().unwrap_or_else(|| KEY_FILE.into()),
        })
    }

    /// The options that say nothing to this project's own channel.
    pub(super) fn of_the_legacy_dialects(&self) -> Vec<&'static str> {
        let given = [
            ("serial_params", &self.serial_params),
            ("channel_address", &self.channel_address),
            ("ipport", &self.ipport),
            ("ipaddr", &self.ipaddr),
            ("vsock", &self.vsock),
            ("multicast_address", &self.multicast_address),
            ("ip_family", &self.ip_family),
            ("retrans", &self.retrans),
            ("auth", &self.auth),
            ("hash", &self.hash),
        ];
        given.into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name).collect()
    }
}

impl Strength {
    fn named(word: &str) -> Option<Self> {
        let words =
            [("none", Self::None), ("sha1", Self::Sha1), ("sha256", Self::Sha256), ("sha512", Self::Sha512)];
        words.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, strength)| strength)
    }
}

impl Default for SerialParams {
    fn default() -> Self {
        Self { speed: 115_200, data_bits: 8, parity: Parity::None, stop_bits: 1 }
    }
}

impl FromStr for SerialParams {
    type Err = OptionsError;

    /// Reads `115200,8N1`; the part after the comma may be left out.
    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let fail = || wrong("serial_params", text, "like 115200,8N1");
        let (speed, frame) = text.split_once(',').unwrap_or((text, "8N1"));
        let speed = speed.trim().parse().ok().filter(|speed| *speed > 0).ok_or_else(fail)?;
        let mut letters = frame.trim().chars();
        let (Some(data), Some(parity), Some(stop), None) =
            (letters.next(), letters.next(), letters.next(), letters.next())
        else {
            return Err(fail());
        };
        let digit = |letter: char, least, most| {
            let digit = letter.to_digit(10).and_then(|digit| u8::try_from(digit).ok());
            digit.filter(|digit| (least..=most).contains(digit)).ok_or_else(fail)
        };
        let parity = match parity.to_ascii_uppercase() {
            'N' => Parity::None,
            'O' => Parity::Odd,
            'E' => Parity::Even,
            _ => return Err(fail()),
        };
        Ok(Self { speed, data_bits: digit(data, 5, 8)?, parity, stop_bits: digit(stop, 1, 2)? })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel { device: None, .. } => f.write_str("the virtio channel"),
            Self::Channel { device: Some(device), .. } => write!(f, "the channel {}", device.display()),
            Self::Serial { device, .. } => write!(f, "the serial port {}", device.display()),
            Self::Guestfwd { address, port } => write!(f, "the forwarded address {address} port {port}"),
            Self::Multicast { address, port, .. } => write!(f, "multicast to {address} port {port}"),
            Self::Tcp { address, port, .. } => write!(f, "TCP to {address} port {port}"),
            Self::Vsock { cid, port, .. } => write!(f, "vsock to context {cid} port {port}"),
        }
    }
}

fn number<T: FromStr>(
    option: &'static str,
    text: Option<&String>,
    default: T,
    must: &'static str,
    right: impl Fn(&T) -> bool,
) -> Result<T, OptionsError> {
    let Some(text) = text else { return Ok(default) };
    text.parse().ok().filter(right).ok_or_else(|| wrong(option, text, must))
}

/// No name: a program without shared libraries cannot ask for names, and a fence device should not depend on DNS.
fn ip_address(option: &'static str, text: &str) -> Result<IpAddr, OptionsError> {
    text.parse().map_err(|_| wrong(option, text, "an IP address, not a name"))
}

fn wrong(option: &'static str, text: &str, must: &'static str) -> OptionsError {
    OptionsError::Value { option, text: text.to_owned(), must }
}

#[cfg(test)]
mod tests;
