//! Single words of the protocol: request ids, names, targets.
//!
//! In:  text from the wire or the command line. Out: checked values.
//!
//! Invariant: a [`Name`] has no control characters, so it can be printed as it is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::limits::NAME_BYTES;

/// Why a word was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// An id is 32 lower-case hex digits and not all zero.
    #[error("a request id is 32 lower-case hex digits, not all zero")]
    Id,
    /// A name has 1 to 1024 bytes.
    #[error("a name has 1 to {NAME_BYTES} bytes")]
    NameLength,
    /// A name has no control characters.
    #[error("a name has no control characters")]
    NameControl,
}

/// The client's random number for one request; a reply is believed only with the same id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// The id of replies to lines whose own id could not be read. No request has it.
    pub const NONE: Self = Self([0; 16]);

    /// An id of 128 random bits; `None` for the reserved all-zero value.
    #[must_use]
    pub fn from_random(bits: [u8; 16]) -> Option<Self> {
        (bits != [0; 16]).then_some(Self(bits))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RequestId {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let lower_hex = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| lower_hex).ok_or(WordError::Id)?;
        Ok(Self(bits.to_be_bytes()))
    }
}

/// A domain's name: 1 to 1024 bytes of UTF-8 without control characters, held once for all who have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        if text.is_empty() || text.len() > NAME_BYTES {
            return Err(WordError::NameLength);
        }
        if text.chars().any(char::is_control) {
            return Err(WordError::NameControl);
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for Name {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        text.to_owned().try_into()
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a request is about, as the client named it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// By UUID.
    Uuid(Uuid),
    /// By name.
    Name(Name),
}

impl FromStr for Target {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let hyphenated = text.len() == 36;
        match Uuid::try_parse(text).ok().filter(|_| hyphenated) {
            Some(uuid) => Ok(Self::Uuid(uuid)),
            None => text.parse().map(Self::Name),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
