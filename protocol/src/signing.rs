//! Signed lines: HMAC-SHA-256 over nonce, direction and JSON.
//!
//! In:  a key, the nonce of `hello`, bytes. Out: a MAC, or whether one is right (in constant time).
//!
//! Invariant: a MAC of one direction or one nonce is never right for another.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::line::{LineError, encode_signed, parse_hex};
use crate::{Reply, Request};

/// Bytes of a MAC.
pub const MAC_BYTES: usize = 32;

/// The host's random number for one connection, told in `hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Nonce {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        parse_hex(text).map(Self).ok_or(KeyError::Nonce)
    }
}

/// Which way a line goes; part of what is signed, so that no line can be sent back as an answer to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Client to host.
    Request,
    /// Host to client.
    Reply,
}

/// Why a key was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key has 32 to 4096 bytes.
    #[error("a key has 32 to 4096 bytes")]
    Length,
    /// A key's id is 1 to 64 of `A-Z a-z 0-9 _ . -`.
    #[error("a key id is 1 to 64 of A-Z a-z 0-9 _ . -")]
    Id,
    /// A nonce is 32 hex digits.
    #[error("a nonce is 32 hex digits")]
    Nonce,
}

/// The name of a key on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let taken = (1..=64).contains(&text.len()) && text.bytes().all(plain);
        if taken { Ok(Self(text.to_owned())) } else { Err(KeyError::Id) }
    }
}

impl KeyId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A shared secret. Its bytes are never printed.
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl TryFrom<Vec<u8>> for Key {
    type Error = KeyError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, KeyError> {
        if (32..=4096).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(KeyError::Length) }
    }
}

impl Key {
    /// The key in a file. The line ending that a text editor or `echo` leaves at the end of a text is not part of it; a file
    /// with any other byte than printable ASCII is taken as it is.
    pub fn of_file(content: &[u8]) -> Result<Self, KeyError> {
        let text = content.trim_ascii_end();
        let is_text = text.iter().all(|byte| matches!(byte, b' '..=b'~'));
        Self::try_from(if is_text { text } else { content }.to_vec())
    }

    fn mac(&self, nonce: &Nonce, direction: Direction, json: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(&nonce.0);
        mac.update(match direction {
            Direction::Request => b">",
            Direction::Reply => b"<",
        });
        mac.update(json);
        Some(mac)
    }

    pub(crate) fn sign(&self, nonce: &Nonce, direction: Direction, json: &[u8]) -> Option<[u8; MAC_BYTES]> {
        Some(self.mac(nonce, direction, json)?.finalize().into_bytes().into())
    }

    pub(crate) fn verify(
        &self,
        nonce: &Nonce,
        direction: Direction,
        json: &[u8],
        told: &[u8; MAC_BYTES],
    ) -> bool {
        self.mac(nonce, direction, json).is_some_and(|mac| mac.verify_slice(told).is_ok())
    }

    /// A signed request line, with its newline.
    pub fn seal_request(&self, id: &KeyId, nonce: &Nonce, request: &Request) -> Result<Vec<u8>, LineError> {
        encode_signed(request, (id, self), nonce, Direction::Request)
    }

    /// A signed reply line, with its newline.
    pub fn seal_reply(&self, id: &KeyId, nonce: &Nonce, reply: &Reply) -> Result<Vec<u8>, LineError> {
        encode_signed(reply, (id, self), nonce, Direction::Reply)
    }
}
