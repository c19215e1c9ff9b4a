//! Hears, in whatever comes over the line, the answer to one request.
//!
//! In:  bytes, in any chunks. Out: what was heard.
//!
//! Invariant: only replies with the request's own random id count; stale replies, those of others and noise do not.

use std::fmt;
use std::time::Duration;

use fence_vmchannel_protocol::{
    Body, Decoder, Frame, GuestIdentity, Hello, Item, Phase, Reason, Reply, RequestId, Ruling, Verdict,
};

/// The final answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The end of an order or a question.
    Verdict(Verdict),
    /// A whole list.
    Items(Vec<Item>),
    /// The answer to `hello`.
    Hello(Hello),
    /// The answer to `whoami`.
    Whoami(GuestIdentity),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self {
            Self::Verdict(verdict) => verdict,
            Self::Items(items) => return write!(f, "a list of {}", items.len()),
            Self::Hello(_) => return f.write_str("hello"),
            Self::Whoami(guest) => return write!(f, "this guest is {}", guest.name),
        };
        match verdict.ruling {
            Ruling::Done => f.write_str("done")?,
            Ruling::Refused(reason) => write!(f, "refused, {reason}")?,
            Ruling::Failed(reason) => write!(f, "failed, {reason}")?,
        }
        verdict.state.iter().try_for_each(|state| write!(f, ", {}", state.word()))?;
        verdict.evidence.iter().try_for_each(|evidence| write!(f, ", evidence {evidence}"))?;
        verdict.took.iter().try_for_each(|took| write!(f, ", {} ms at the host", took.as_millis()))
    }
}

/// What a piece of the stream said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The host works on it.
    Progress(Phase, Duration),
    /// The end.
    Answer(Answer),
    /// The host could not read a line, which may have been ours.
    Garbled,
    /// Part of a list; more follows.
    Part,
}

/// Listens for the replies to one request.
pub(crate) struct Listener {
    id: RequestId,
    decoder: Decoder,
    items: Vec<Item>,
}

impl Listener {
    pub(crate) fn new(id: RequestId) -> Self {
        Self { id, decoder: Decoder::default(), items: Vec::new() }
    }

    /// Forgets half a line and half a list: the request is about to be sent (again).
    pub(crate) fn begin_anew(&mut self) {
        self.decoder = Decoder::default();
        self.items.clear();
    }

    /// Takes bytes off the front of `input` up to something that was heard. `None` once all input is taken.
    pub(crate) fn hear(&mut self, input: &mut &[u8]) -> Option<Heard> {
        while let Some(frame) = self.decoder.push(input) {
            // Signed replies will be opened here, with the key that signed the request.
            let Frame::Plain(json) = frame else { continue };
            let Ok(reply) = Reply::parse(&json) else { continue };
            if reply.id == self.id {
                return Some(self.take(reply.body));
            }
            if reply.id == RequestId::NONE && is_garbled(&reply.body) {
                return Some(Heard::Garbled);
            }
        }
        None
    }

    fn take(&mut self, body: Body) -> Heard {
        Heard::Answer(match body {
            Body::Progress(phase, elapsed) => return Heard::Progress(phase, elapsed),
            Body::Items(items, more) => {
                self.items.extend(items);
                if more {
                    return Heard::Part;
                }
                Answer::Items(self.whole_list())
            }
            Body::Verdict(verdict) => Answer::Verdict(verdict),
            Body::Hello(hello) => Answer::Hello(hello),
            Body::Whoami(guest) => Answer::Whoami(guest),
        })
    }

    /// Each target once: a repeated request may have brought parts twice.
    fn whole_list(&mut self) -> Vec<Item> {
        let mut items = std::mem::take(&mut self.items);
        items.sort_by(|a, b| (&a.name, a.uuid).cmp(&(&b.name, b.uuid)));
        items.dedup_by_key(|item| item.uuid);
        items
    }
}

fn is_garbled(body: &Body) -> bool {
    matches!(body, Body::Verdict(verdict)
        if matches!(verdict.ruling, Ruling::Refused(Reason::BadFrame) | Ruling::Failed(Reason::BadFrame)))
}
