//! The records of a legacy list: 130 bytes each, and one of zeroes at the end.
//!
//! In:  a list's item. Out: its bytes, and back.
//!
//! Invariant: clients print `off` for every state but 1, so whatever is not known to be off is written as 1.

use super::text::{TEXT_BYTES, field, printable};
use crate::reply::{Item, PowerState};

/// Bytes of a record.
pub const RECORD_BYTES: usize = 2 * TEXT_BYTES + 2;
/// libvirt's number for running.
const RUNNING: u8 = 1;
/// libvirt's number for shut off.
const SHUT_OFF: u8 = 5;

/// One record, as a client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// The domain's name; its UUID where the name does not fit.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// libvirt's number for its state.
    pub state: u8,
}

impl HostRecord {
    /// The record that ends a list.
    pub const END: [u8; RECORD_BYTES] = [0; RECORD_BYTES];

    /// The bytes of an item. A name that does not fit is never cut, since a cut name may be another domain's: the UUID takes its
    /// place, by which the domain can be asked for.
    #[must_use]
    pub fn encode(item: &Item) -> [u8; RECORD_BYTES] {
        let uuid = field(&item.uuid.to_string()).unwrap_or([0; TEXT_BYTES]);
        let name = field(item.name.as_str()).unwrap_or(uuid);
        let state = match item.state {
            Some(PowerState::Off) => SHUT_OFF,
            Some(PowerState::On) | None => RUNNING,
        };
        let mut record = Self::END;
        let bytes = name.into_iter().chain(uuid).chain([state]);
        record.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        record
    }

    /// The record in these bytes; `None` for the end of the list. Other hosts write names up to the last byte, and leave what they
    /// like in the padding.
    #[must_use]
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let (name, rest) = bytes.split_first_chunk::<TEXT_BYTES>()?;
        let (uuid, rest) = rest.split_first_chunk::<TEXT_BYTES>()?;
        let (name, uuid) = (printable(name), printable(uuid));
        let state = rest.first().copied().unwrap_or_default();
        (!name.is_empty() || !uuid.is_empty()).then_some(Self { name, uuid, state })
    }

    /// Whether it is said to run.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.state == RUNNING
    }
}
