//! What to do next, after what was heard and how long nothing was.
//!
//! In:  bytes from the host. Out: [`Next`].
//!
//! Invariant: a host that keeps refusing what it cannot read, or cannot accept as signed, is not asked for ever.

use std::time::Duration;

use fence_vmchannel_protocol::Ask;
use fence_vmchannel_protocol::signing::{KeyId, Nonce};
use tokio::time::Instant;

use crate::conversation::ConversationError;
use crate::listener::{Answer, Heard, Listener};
use crate::trace::Trace;
use crate::voice::Voice;

/// The line may have been lost, or the agent restarted: without a word the line is sent again, soon and then seldom.
const FIRST_SILENCE: Duration = Duration::from_secs(2);
const LATER_SILENCE: Duration = Duration::from_secs(5);
/// A host that keeps saying that it cannot read our line, or cannot accept our signature, will not learn it.
const REFUSED_MOST: u32 = 3;

/// What to do next.
pub(crate) enum Next {
    Connect,
    /// Say the request, or the `hello` before it.
    Speak,
    Sign(Nonce),
    /// Ask with a new id: the one before was taken, and what it asked changes nothing.
    AskAnew,
    Listen,
    Done(Answer),
}

/// The listener, and how long it is patient.
pub(crate) struct Ear {
    listener: Listener,
    patience: Duration,
    pub(crate) patient_until: Instant,
    garbled: u32,
    /// The key that signs, and how often the host could not accept it.
    key: Option<KeyId>,
    refused: u32,
    /// Whether a signed request is on its way of which nothing was heard yet.
    is_signed_unheard: bool,
    /// The last word of an agent that is stopping: the next one is to be asked.
    pub(crate) stopping: Option<Answer>,
    trace: Trace,
}

impl Ear {
    pub(crate) fn new(voice: &Voice, trace: Trace) -> Self {
        Self {
            listener: Listener::new(voice.request.id, voice.signing.clone()),
            patience: FIRST_SILENCE,
            patient_until: Instant::now() + FIRST_SILENCE,
            garbled: 0,
            key: voice.signing.as_ref().map(|(key, _)| key.id.clone()),
            refused: 0,
            is_signed_unheard: false,
            stopping: None,
            trace,
        }
    }

    pub(crate) fn begin_anew(&mut self, voice: &Voice) {
        self.listener.begin_anew(voice.request.id);
        self.is_signed_unheard = false;
        self.patient_until = Instant::now() + self.patience;
        self.patience = LATER_SILENCE;
    }

    /// There is another connection.
    pub(crate) fn forget(&mut self) {
        self.listener.forget();
    }

    pub(crate) fn expect_under(&mut self, nonce: Nonce) {
        self.listener.expect_under(nonce);
        self.is_signed_unheard = true;
    }

    pub(crate) fn hear(&mut self, mut bytes: &[u8], ask: &Ask) -> Result<Next, ConversationError> {
        let mut next = Next::Listen;
        while let Some(heard) = self.listener.hear(&mut bytes) {
            match heard {
                Heard::Answer(answer) => return Ok(self.end(answer, ask)),
                heard @ (Heard::Garbled | Heard::Torn) => {
                    self.garbled += 1;
                    let who = if heard == Heard::Garbled { "the host" } else { "this guest" };
                    self.trace.say(format_args!("{who} could not read a line"));
                    if self.garbled <= REFUSED_MOST {
                        next = Next::Speak;
                    }
                }
                Heard::Nonce(nonce) => next = Next::Sign(nonce),
                // One that is no answer to ours is another program's.
                Heard::BadSignature if self.is_signed_unheard => next = self.refused_signature()?,
                Heard::BadSignature => {}
                Heard::Progress(phase, at) => {
                    self.trace.say(format_args!("progress: {phase}, {} ms at the host", at.as_millis()));
                    self.patient_until = Instant::now() + LATER_SILENCE;
                    self.is_signed_unheard = false;
                    self.stopping = None; // another agent accepted it
                }
                Heard::Part => self.patient_until = Instant::now() + LATER_SILENCE,
            }
        }
        Ok(next)
    }

    /// The nonce may have changed: it is asked for again, but not for ever.
    fn refused_signature(&mut self) -> Result<Next, ConversationError> {
        self.is_signed_unheard = false;
        self.refused += 1;
        self.trace.say(format_args!("the host could not accept a signature"));
        match &self.key {
            Some(key) if self.refused >= REFUSED_MOST => {
                Err(ConversationError::BadSignature { key: key.clone() })
            }
            _ => Ok(Next::Speak),
        }
    }

    /// A host that took this id before, and whose answer was lost, wants to be asked anew. That is never done for what changes
    /// something: it could be done twice. An agent that is stopping did not accept it, nor does it when it is asked again.
    fn end(&mut self, answer: Answer, ask: &Ask) -> Next {
        let was_taken = self.key.is_some() && answer.is_bad_signature();
        if answer.is_stopping() || (was_taken && self.stopping.is_some()) {
            self.trace.say(format_args!("the host's agent is stopping, waiting for the next one"));
            self.stopping.get_or_insert(answer);
            self.is_signed_unheard = false;
            self.patient_until = Instant::now() + FIRST_SILENCE;
            return Next::Listen;
        }
        if was_taken && self.refused < REFUSED_MOST && !matches!(ask, Ask::Power(..)) {
            self.refused += 1;
            return Next::AskAnew;
        }
        Next::Done(answer)
    }
}
