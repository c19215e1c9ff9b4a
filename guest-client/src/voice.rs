//! How the request is said: plainly, or signed under the nonce that the host's `hello` tells.
//!
//! In:  the request, and the key if there is one. Out: lines.
//!
//! Invariant: with a key, nothing but `hello` is ever said unsigned.

use fence_vmchannel_protocol::signing::Nonce;
use fence_vmchannel_protocol::{Ask, LineError, Request, RequestId, encode_line};

use crate::key::SigningKey;

/// Says one request.
pub(crate) struct Voice {
    pub(crate) request: Request,
    /// The key, and the id of the `hello` that goes before.
    pub(crate) signing: Option<(SigningKey, RequestId)>,
}

impl Voice {
    /// What to say first: the request, or a `hello` to learn the nonce.
    pub(crate) fn opening(&self) -> Result<Vec<u8>, LineError> {
        let line = match &self.signing {
            None => encode_line(&self.request),
            Some((_, id)) => encode_line(&Request { id: *id, ask: Ask::Hello, ..self.request.clone() }),
        };
        Ok(after_newline(&line?))
    }

    /// The request, signed under this nonce.
    pub(crate) fn signed(&self, nonce: &Nonce) -> Result<Vec<u8>, LineError> {
        let line = match &self.signing {
            None => encode_line(&self.request),
            Some((signing, _)) => signing.key.seal_request(&signing.id, nonce, &self.request),
        };
        Ok(after_newline(&line?))
    }
}

/// The newline ends whatever half line lies on the way.
fn after_newline(line: &[u8]) -> Vec<u8> {
    [b"\n", line].concat()
}
