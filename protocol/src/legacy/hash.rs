//! The keyed hashes of the network dialects: SHA(key || bytes), padded with zeroes to 64 bytes.
//!
//! In:  a shared key and bytes. Out: their hash, or whether a told one is right (in constant time).
//!
//! Invariant: [`Hash::None`] proves nothing and never answers a challenge.

use std::fmt;
use std::str::FromStr;

use hmac::digest::{CtOutput, Digest};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// Bytes of a challenge, of its answer and of a request's hash.
pub const CHALLENGE_BYTES: usize = 64;
/// Bytes of the longest key; of a longer file, all programs take only these.
const KEY_BYTES: usize = 4096;

/// Random bytes that only who has the key can answer.
pub type Challenge = [u8; CHALLENGE_BYTES];

/// Which hash is used; a greater one is a stronger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// None at all: anybody may ask.
    None,
    /// SHA-1, for which collisions are known.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Every hash, at the place of its number.
    pub const ALL: [Self; 4] = [Self::None, Self::Sha1, Self::Sha256, Self::Sha512];

    /// Its number on the wire.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Sha1 => 1,
            Self::Sha256 => 2,
            Self::Sha512 => 3,
        }
    }

    /// The hash with this number.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// Its word in settings and options.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The answer to a challenge; `None` without a hash.
    #[must_use]
    pub fn answer(self, key: &SharedKey, challenge: &Challenge) -> Option<Challenge> {
        (self != Self::None).then(|| self.keyed(key, challenge))
    }

    /// Whether this is the answer to a challenge. Constant time.
    #[must_use]
    pub fn is_answer(self, key: &SharedKey, challenge: &Challenge, told: &Challenge) -> bool {
        self != Self::None && is_equal(&self.keyed(key, challenge), told)
    }

    pub(super) fn keyed(self, key: &SharedKey, bytes: &[u8]) -> [u8; CHALLENGE_BYTES] {
        match self {
            Self::None => [0; CHALLENGE_BYTES],
            Self::Sha1 => padded::<Sha1>(key, bytes),
            Self::Sha256 => padded::<Sha256>(key, bytes),
            Self::Sha512 => padded::<Sha512>(key, bytes),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|hash| hash.word() == word);
        known.ok_or_else(|| format!("unknown hash {word:?}: expected none, sha1, sha256 or sha512"))
    }
}

fn padded<D: Digest>(key: &SharedKey, bytes: &[u8]) -> [u8; CHALLENGE_BYTES] {
    let hash = D::new().chain_update(&key.0).chain_update(bytes).finalize();
    let mut padded = [0; CHALLENGE_BYTES];
    padded.iter_mut().zip(hash.iter()).for_each(|(to, byte)| *to = *byte);
    padded
}

/// Compares in a time that tells nothing of where they differ.
pub(super) fn is_equal(one: &[u8; CHALLENGE_BYTES], other: &[u8; CHALLENGE_BYTES]) -> bool {
    CtOutput::<Sha512>::new((*one).into()) == CtOutput::<Sha512>::new((*other).into())
}

/// Why a shared key was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SharedKeyError {
    /// There is nothing in it.
    #[error("the key is empty; make one with `dd if=/dev/urandom bs=512 count=1`")]
    Empty,
}

/// The secret of a legacy network. Its bytes are never printed.
#[derive(Clone)]
pub struct SharedKey(Vec<u8>);

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

impl TryFrom<Vec<u8>> for SharedKey {
    type Error = SharedKeyError;

    fn try_from(mut bytes: Vec<u8>) -> Result<Self, SharedKeyError> {
        bytes.truncate(KEY_BYTES);
        if bytes.is_empty() { Err(SharedKeyError::Empty) } else { Ok(Self(bytes)) }
    }
}

impl SharedKey {
    /// Whether it is too short to be a secret.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.0.len() < 32
    }

    /// Whether who does not have the key can make a request out of an answer to a challenge. SHA(key || bytes) can be gone on with from
    /// its value, with the hash's own padding in between; with keys of these lengths the padding ends before the part of a request that
    /// has to be zeroes.
    #[must_use]
    pub fn lets_answers_become_requests(&self, auth: Hash) -> bool {
        let length = self.0.len();
        match auth {
            Hash::None => false,
            Hash::Sha1 | Hash::Sha256 => (16..=55).contains(&(length % 64)),
            Hash::Sha512 => (16..=47).contains(&(length % 128)),
        }
    }
}

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;
