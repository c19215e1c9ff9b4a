//! An IP network, as `192.168.122.0/24`.

use std::net::IpAddr;
use std::str::FromStr;

/// A network and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether the address is in it.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                prefix(own.to_bits().into(), self.bits, 32) == prefix(other.to_bits().into(), self.bits, 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                prefix(own.to_bits(), self.bits, 128) == prefix(other.to_bits(), self.bits, 128)
            }
            _ => false,
        }
    }
}

/// The first `bits` of an address of `all` bits.
fn prefix(address: u128, bits: u8, all: u32) -> u128 {
    address.checked_shr(all.saturating_sub(bits.into())).unwrap_or(0)
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no network: expected an address and a prefix, as 192.168.122.0/24");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?;
        Ok(Self { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_if_it_begins_with_its_prefix() {
        let has =
            |network: &str, address: &str| network.parse::<Network>().unwrap().has(address.parse().unwrap());

        assert!(has("192.168.122.0/24", "192.168.122.255"));
        assert!(!has("192.168.122.0/24", "192.168.123.0"));
        assert!(has("192.168.122.7/32", "::ffff:192.168.122.7"));
        assert!(!has("192.168.122.7/32", "192.168.122.6"));
        assert!(has("0.0.0.0/0", "203.0.113.9") && !has("0.0.0.0/0", "2001:db8::1"));
        assert!(has("2001:db8::/32", "2001:db8:ffff::1") && !has("2001:db8::/32", "2001:db9::1"));
        assert!(has("::/0", "fe80::1"));
        for wrong in ["192.168.122.0", "192.168.122.0/33", "::/129", "web/24", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
