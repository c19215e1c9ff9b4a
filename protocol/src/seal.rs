//! How the replies to one request are tagged: by a checksum, or signed with the key that signed the request.
//!
//! In:  replies. Out: lines.
//!
//! Invariant: replies to a signed request are signed with its key, under the nonce that it was signed under.

use std::sync::Arc;

use crate::line::{LineError, encode_line};
use crate::signing::{Key, KeyId, MAC_BYTES, Nonce};
use crate::{Item, Reply, RequestId};

/// How the replies to one request are tagged.
#[derive(Debug, Clone, Default)]
pub enum Seal {
    /// By a CRC-32C.
    #[default]
    Checksum,
    /// By a MAC.
    Signature {
        /// The key that signed the request.
        key: Arc<Key>,
        /// Its name.
        id: KeyId,
        /// The nonce that the request was signed under.
        nonce: Nonce,
    },
}

impl Seal {
    /// A reply as one line, with its newline.
    pub fn line(&self, reply: &Reply) -> Result<Vec<u8>, LineError> {
        match self {
            Self::Checksum => encode_line(reply),
            Self::Signature { key, id, nonce } => key.seal_reply(id, nonce, reply),
        }
    }

    /// A whole list as replies, each of which is a line within the limit.
    #[must_use]
    pub fn list_parts(&self, id: RequestId, items: Vec<Item>) -> Vec<Reply> {
        Reply::list_parts(id, items, self.tag_bytes())
    }

    /// So many bytes more than a checksum takes, at most.
    fn tag_bytes(&self) -> usize {
        match self {
            Self::Checksum => 0,
            Self::Signature { id, .. } => id.as_str().len() + 2 * MAC_BYTES,
        }
    }
}
