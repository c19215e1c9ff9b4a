//! The dialects of existing `fence_virt` and `fence_xvm` clients: packed structs over a serial port or a network.
//!
//! In:  bytes of a struct. Out: what it asks or answers; and the way back, for both ends.
//!
//! Invariant: everything is checked (magic, op, text, hash) before anything is believed; what is encoded is padded with zeroes.

mod hash;
mod network;
mod record;
mod serial;
mod text;

pub use hash::{CHALLENGE_BYTES, Challenge, Hash, SharedKey, SharedKeyError};
pub use network::{NETWORK_BYTES, NetworkError, NetworkRequest};
pub use record::{HostRecord, RECORD_BYTES};
pub(crate) use serial::goes_on;
pub use serial::{SERIAL_BYTES, SERIAL_REPLY_BYTES, SerialReply, SerialRequest, StructError};
pub use text::TEXT_BYTES;

/// The port of all network dialects, and of the serial dialect over user networking.
pub const PORT: u16 = 1229;

/// What a legacy request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Nothing.
    Null,
    /// Stop the target.
    Off,
    /// Stop and start the target.
    Reboot,
    /// Start the target.
    On,
    /// Whether the target runs.
    Status,
    /// Whether the host could act.
    Monitor,
    /// Which targets there are.
    List,
}

impl Op {
    /// Every op, at the place of its number.
    pub const ALL: [Self; 7] =
        [Self::Null, Self::Off, Self::Reboot, Self::On, Self::Status, Self::Monitor, Self::List];

    /// The op with this number.
    pub fn from_byte(byte: u8) -> Result<Self, StructError> {
        Self::ALL.get(usize::from(byte)).copied().ok_or(StructError::Op(byte))
    }

    /// Its number.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Off => 1,
            Self::Reboot => 2,
            Self::On => 3,
            Self::Status => 4,
            Self::Monitor => 5,
            Self::List => 6,
        }
    }

    /// Its word in logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Off => "off",
            Self::Reboot => "reboot",
            Self::On => "on",
            Self::Status => "status",
            Self::Monitor => "monitor",
            Self::List => "list",
        }
    }
}

/// The one byte that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It was done; for `status`: it is on.
    Success,
    /// It failed, or nothing is known.
    Failure,
    /// For `status` only: it is off.
    Off,
    /// Not permitted, or no such target.
    Denied,
    /// Records follow.
    List,
}

impl Code {
    /// Its number.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Off => 2,
            Self::Denied => 3,
            Self::List => 253,
        }
    }

    /// The code with this number. Any other number is to be taken as a failure.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Success, Self::Failure, Self::Off, Self::Denied, Self::List]
            .into_iter()
            .find(|code| code.byte() == byte)
    }
}
