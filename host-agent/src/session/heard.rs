//! What a guest said: plain, or signed with one of its keys.
//!
//! In:  frames. Out: a request, with the right of the key that it was signed with and the seal for its replies.
//!
//! Invariant: what is under a signature that is not right is not read. A signed line is right for one connection, and a request
//! id is taken once under one nonce; a repeat is marked as such and can only fetch what was decided.

use std::borrow::Cow;

use fence_vmchannel_protocol::signing::Nonce;
use fence_vmchannel_protocol::{Frame, Reason, Reply, Request, RequestId, Seal, SignedLine};

use super::answer::Session;
use super::waiting::line_of;
use crate::channel::bucket::Bucket;
use crate::identity::Guest;
use crate::policy::{Opened, Refusal};

/// So many request ids are remembered for one nonce. A `hello` brings a new nonce when half of them are used.
const IDS: usize = 256;
/// So many bad signatures are answered in a second, and at once.
const TOLD: (u32, u32) = (1, 4);

/// A request, who asks it with which right, and how its replies are tagged.
pub(super) struct Heard<'a> {
    pub(super) request: Request,
    pub(super) guest: Cow<'a, Guest>,
    pub(super) seal: Seal,
    /// It was signed under an id that was taken before.
    pub(super) is_repeat: bool,
}

/// The line that answers what is no request.
pub(super) type Unheard = Option<Vec<u8>>;

/// What is signed under, on this connection.
pub(super) struct Signatures {
    /// `None` if the kernel gave no random number: then nothing can be signed.
    nonce: Option<Nonce>,
    /// The ids that were taken under it.
    taken: Vec<RequestId>,
    told: Bucket,
}

impl Signatures {
    pub(super) fn new() -> Self {
        Self { nonce: new_nonce(), taken: Vec::new(), told: Bucket::new(TOLD) }
    }

    /// The nonce to sign under from now on.
    pub(super) fn nonce_for_hello(&mut self) -> Nonce {
        if self.nonce.is_none() || self.taken.len() >= IDS / 2 {
            (self.nonce, self.taken) = (new_nonce(), Vec::new());
        }
        self.nonce.unwrap_or(Nonce([0; 16]))
    }

    /// The nonce to open a line with.
    fn nonce(&self) -> Option<Nonce> {
        self.nonce.filter(|_| self.taken.len() < IDS)
    }

    /// Takes the id; whether it was taken before.
    fn take(&mut self, id: RequestId) -> bool {
        let is_repeat = self.taken.contains(&id);
        if !is_repeat {
            self.taken.push(id);
        }
        is_repeat
    }
}

impl<'a> Session<'a> {
    /// The request in a frame, or what to answer instead.
    pub(super) fn open(&mut self, frame: Frame) -> Result<Heard<'a>, Unheard> {
        match frame {
            Frame::Plain(json) => match Request::parse(&json) {
                Ok(request) => Ok(Heard {
                    request,
                    guest: Cow::Borrowed(self.guest),
                    seal: Seal::Checksum,
                    is_repeat: false,
                }),
                Err(error) => Err(Some(line_of(&self.bad_request(&error), &Seal::Checksum))),
            },
            Frame::Signed(line) => self.open_signed(&line),
            Frame::Legacy(_) | Frame::Noise(_) => {
                Err(self.bad_frame().map(|reply| line_of(&reply, &Seal::Checksum)))
            }
        }
    }

    fn open_signed(&mut self, line: &SignedLine) -> Result<Heard<'a>, Unheard> {
        let Some(Opened { json, signer, seal }) = self.opened(line) else {
            return Err(self.bad_signature(line).map(|reply| line_of(&reply, &Seal::Checksum)));
        };
        match Request::parse(&json) {
            Ok(request) => {
                let is_repeat = self.signatures.take(request.id);
                let guest = Cow::Owned(self.guest.signing(signer));
                Ok(Heard { request, guest, seal, is_repeat })
            }
            Err(error) => Err(Some(line_of(&self.bad_request(&error), &seal))),
        }
    }

    fn opened(&self, line: &SignedLine) -> Option<Opened> {
        let nonce = self.signatures.nonce()?;
        let domains = self.agent.domains();
        self.agent.rules().open(domains.get(self.guest.uuid())?, line, nonce)
    }

    /// What is in the line is not read, so the answer has no id. Who sends many of them is not told each time.
    fn bad_signature(&mut self, line: &SignedLine) -> Option<Reply> {
        let rule = format!("no key of this guest fits the line, which names key {}", line.key());
        self.quota.refused(self.guest, "signed", "", &Refusal { reason: Reason::BadSignature, rule });
        let tells = self.signatures.told.pass();
        tells.then(|| self.refuse(RequestId::NONE, Reason::BadSignature))
    }
}

/// The connection's random number.
fn new_nonce() -> Option<Nonce> {
    let mut bits = [0; 16];
    match getrandom::fill(&mut bits) {
        Ok(()) => Some(Nonce(bits)),
        Err(error) => {
            tracing::error!(%error, "the kernel gives no random numbers: nothing can be signed");
            None
        }
    }
}
