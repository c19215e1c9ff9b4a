//! The network dialects' request: 176 bytes, the same over multicast, TCP and vsock.
//!
//! In:  a packet and the shared key. Out: a [`NetworkRequest`] whose hash was right, and the way back.
//!
//! Invariant: nothing of a packet is read before its hash is known to be strong enough and right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::hash::is_equal;
use super::text::{TEXT_BYTES, field_of, target};
use super::{CHALLENGE_BYTES, Hash, Op, SharedKey, StructError};
use crate::words::Target;

/// Bytes of a request.
pub const NETWORK_BYTES: usize = 176;
/// Bytes before the hash, which is a request's end.
const HASHED: usize = NETWORK_BYTES - CHALLENGE_BYTES;
/// Bytes of an address's field.
const ADDRESS_BYTES: usize = 28;
/// The flag of a target that is named by its UUID.
const BY_UUID: u8 = 1;
/// Linux's numbers of the address families.
const INET: u32 = 2;
const INET6: u32 = 10;

/// Why a packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// There is no such hash.
    #[error("there is no hash number {0}")]
    UnknownHash(u8),
    /// The hash is weaker than what is asked for.
    #[error("its hash is {0}, weaker than the {1} that is asked for")]
    TooWeak(Hash, Hash),
    /// There is no key to check it with.
    #[error("it has a hash, and there is no key to check it with")]
    NoKey,
    /// The hash is not that of these bytes and this key.
    #[error("its hash is wrong: it was made with another key, or changed on its way")]
    Wrong,
    /// The address to call back is none.
    #[error("the address to call back is none")]
    Address,
    /// Something else in it is wrong.
    #[error(transparent)]
    Struct(#[from] StructError),
}

/// A request of the network dialects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRequest {
    /// What is asked.
    pub op: Op,
    /// The hash that it is, or is to be, protected with.
    pub hash: Hash,
    /// About whom.
    pub target: Option<Target>,
    /// Where a multicast client listens for the answer. Over TCP and vsock there is none.
    pub callback: Option<SocketAddr>,
    /// Makes equal requests differ.
    pub random: [u8; 6],
    /// The client's number for it. Copies of one request have the same.
    pub seqno: u32,
}

impl NetworkRequest {
    /// The request in a packet, if its hash is at least `least` and right.
    pub fn open(
        packet: &[u8; NETWORK_BYTES],
        key: Option<&SharedKey>,
        least: Hash,
    ) -> Result<Self, NetworkError> {
        let [_, number, ..] = *packet;
        let hash = Hash::from_byte(number).ok_or(NetworkError::UnknownHash(number))?;
        if hash < least {
            return Err(NetworkError::TooWeak(hash, least));
        }
        let (body, told) = packet.split_last_chunk::<CHALLENGE_BYTES>().ok_or(NetworkError::Wrong)?;
        if hash != Hash::None {
            let key = key.ok_or(NetworkError::NoKey)?;
            if !is_equal(&hash_of(hash, key, body), told) {
                return Err(NetworkError::Wrong);
            }
        }
        Self::read(body, hash)
    }

    /// Its packet, with its hash. A key is needed unless that is [`Hash::None`].
    pub fn seal(&self, key: Option<&SharedKey>) -> Result<[u8; NETWORK_BYTES], NetworkError> {
        let body = self.write()?;
        let told = match (self.hash, key) {
            (Hash::None, _) => [0; CHALLENGE_BYTES],
            (hash, Some(key)) => hash_of(hash, key, &body),
            (_, None) => return Err(NetworkError::NoKey),
        };
        let mut packet = [0; NETWORK_BYTES];
        packet.iter_mut().zip(body.into_iter().chain(told)).for_each(|(to, byte)| *to = byte);
        Ok(packet)
    }

    fn read(body: &[u8], hash: Hash) -> Result<Self, NetworkError> {
        let rest = body;
        let ([op, _, address_bytes, flags], rest) = take::<4>(rest)?;
        let (name, rest) = take::<TEXT_BYTES>(rest)?;
        let (address, rest) = take::<ADDRESS_BYTES>(rest)?;
        let (port, rest) = take::<2>(rest)?;
        let (random, rest) = take::<6>(rest)?;
        let (seqno, rest) = take::<4>(rest)?;
        let (family, _) = take::<4>(rest)?;
        let named = target(&name)?;
        if flags & BY_UUID != 0 && matches!(named, Some(Target::Name(_))) {
            return Err(StructError::Text.into());
        }
        Ok(Self {
            op: Op::from_byte(op)?,
            hash,
            target: named,
            callback: callback(
                u32::from_le_bytes(family),
                address_bytes,
                &address,
                u16::from_le_bytes(port),
            )?,
            random,
            seqno: u32::from_le_bytes(seqno),
        })
    }

    fn write(&self) -> Result<[u8; HASHED], NetworkError> {
        let by_uuid = matches!(self.target, Some(Target::Uuid(_)));
        let (family, length, address) = match self.callback.map(|at| at.ip()) {
            None => (0, 0, vec![]),
            Some(IpAddr::V4(ip)) => (INET, 4, ip.octets().to_vec()),
            Some(IpAddr::V6(ip)) => (INET6, 16, ip.octets().to_vec()),
        };
        let mut field = [0; ADDRESS_BYTES];
        field.iter_mut().zip(address).for_each(|(to, byte)| *to = byte);
        let port = self.callback.map_or(0, |at| at.port());
        let head = [self.op.byte(), self.hash.byte(), length, if by_uuid { BY_UUID } else { 0 }];
        let name = field_of(self.target.as_ref())?;
        let bytes = head.into_iter().chain(name).chain(field).chain(port.to_le_bytes());
        let bytes = bytes.chain(self.random).chain(self.seqno.to_le_bytes()).chain(u32::to_le_bytes(family));
        let mut body = [0; HASHED];
        body.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        Ok(body)
    }
}

/// The hash covers the whole packet with zeroes in its own place.
fn hash_of(hash: Hash, key: &SharedKey, body: &[u8]) -> [u8; CHALLENGE_BYTES] {
    let covered: Vec<u8> = body.iter().copied().chain([0; CHALLENGE_BYTES]).collect();
    hash.keyed(key, &covered)
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), NetworkError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(NetworkError::Wrong)?;
    Ok((*taken, rest))
}

fn callback(
    family: u32,
    length: u8,
    address: &[u8; ADDRESS_BYTES],
    port: u16,
) -> Result<Option<SocketAddr>, NetworkError> {
    let v4 = || address.first_chunk::<4>().copied().map(Ipv4Addr::from).map(IpAddr::from);
    let v6 = || address.first_chunk::<16>().copied().map(Ipv6Addr::from).map(IpAddr::from);
    let ip = match (family, length) {
        (0, 0) => return Ok(None),
        (INET, 4) => v4(),
        (INET6, 16) => v6(),
        _ => None,
    };
    let ip = ip.filter(|_| port != 0).ok_or(NetworkError::Address)?;
    Ok(Some(SocketAddr::new(ip, port)))
}
