//! The serial dialect: 74 bytes ask, 5 bytes answer.
//!
//! In:  a struct's bytes. Out: [`SerialRequest`] or [`SerialReply`], and back.
//!
//! Invariant: the magic is checked. A reply carries nothing of its request: whoever sends one must know that it is still asked for.

use super::text::{TEXT_BYTES, field_of, target};
use super::{Code, Op};
use crate::words::Target;

/// Bytes of a request.
pub const SERIAL_BYTES: usize = 74;
/// Bytes of a reply.
pub const SERIAL_REPLY_BYTES: usize = 5;
/// How both begin: 0x61626261, the same in either byte order.
pub(crate) const MAGIC: [u8; 4] = *b"abba";
/// Where a request's name begins and ends; its sequence number follows.
const NAME: std::ops::Range<usize> = 6..6 + TEXT_BYTES;

/// Why a struct was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StructError {
    /// It does not begin with the magic.
    #[error("a legacy struct begins with the magic `abba`")]
    Magic,
    /// There is no such op.
    #[error("there is no legacy op {0}")]
    Op(u8),
    /// The name has no NUL at its end: it may have been cut.
    #[error("a legacy name has at most 63 bytes")]
    NoEnd,
    /// The name is longer than the field.
    #[error("a name of more than 63 bytes does not fit into a legacy request: use the UUID")]
    TooLong,
    /// The name is no UTF-8, or has control characters.
    #[error("a name is UTF-8 without control characters")]
    Text,
}

/// A request of the serial dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialRequest {
    /// What is asked.
    pub op: Op,
    /// About whom.
    pub target: Option<Target>,
    /// The client's number for it. Clients take the microseconds of their clock, so it identifies nothing for long.
    pub seqno: u32,
}

impl SerialRequest {
    /// The request in these bytes.
    pub fn decode(bytes: &[u8; SERIAL_BYTES]) -> Result<Self, StructError> {
        let (magic, rest) = bytes.split_first_chunk().ok_or(StructError::Magic)?;
        if *magic != MAGIC {
            return Err(StructError::Magic);
        }
        let ([op, _flags], rest) = rest.split_first_chunk().ok_or(StructError::Magic)?;
        let (name, rest) = rest.split_first_chunk::<TEXT_BYTES>().ok_or(StructError::Magic)?;
        let seqno = rest.first_chunk().copied().map(u32::from_le_bytes).unwrap_or_default();
        Ok(Self { op: Op::from_byte(*op)?, target: target(name)?, seqno })
    }

    /// Its bytes.
    pub fn encode(&self) -> Result<[u8; SERIAL_BYTES], StructError> {
        let name = field_of(self.target.as_ref())?;
        let bytes = MAGIC.into_iter().chain([self.op.byte(), 0]).chain(name).chain(self.seqno.to_le_bytes());
        let mut request = [0; SERIAL_BYTES];
        request.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        Ok(request)
    }
}

/// Whether a struct can go on with this byte at this place. A newline before the sequence number is one that a line begins
/// or ends with: then it never was a struct, and what follows is not lost.
pub(crate) fn goes_on(place: usize, byte: u8) -> bool {
    match MAGIC.get(place) {
        Some(expected) => byte == *expected,
        None => byte != b'\n' || place >= NAME.end,
    }
}

/// A reply of the serial dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialReply(pub Code);

impl SerialReply {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> [u8; SERIAL_REPLY_BYTES] {
        let [a, b, c, d] = MAGIC;
        [a, b, c, d, self.0.byte()]
    }

    /// The reply in these bytes; a code that nobody knows is a failure.
    pub fn decode(bytes: &[u8; SERIAL_REPLY_BYTES]) -> Result<Self, StructError> {
        let [magic @ .., code] = bytes;
        if *magic != MAGIC {
            return Err(StructError::Magic);
        }
        Ok(Self(Code::from_byte(*code).unwrap_or(Code::Failure)))
    }
}
