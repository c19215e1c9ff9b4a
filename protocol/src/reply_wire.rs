//! Replies as JSON objects, both ways.
//!
//! In:  a [`Reply`], or the JSON of a line. Out: the other one.
//!
//! Invariant: an object that is not exactly one kind of reply is none; a verdict `done`/`off` without evidence for a
//! power request is still decoded here and disbelieved by the client.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::host_status::HostStatus;
use crate::limits::{DETAIL_BYTES, LINE_BYTES};
use crate::line::{LineError, encode_line, from_object, is_plain};
use crate::reply::{
    Body, Evidence, GuestIdentity, Hello, Item, Phase, PowerState, Reason, Reply, Ruling, Verdict,
};
use crate::words::RequestId;

/// A reply that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a reply of this protocol: {0}")]
pub struct ReplyError(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RulingWord {
    Done,
    Refused,
    Failed,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Wire {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<RulingWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<PowerState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<Item>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest: Option<GuestIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_status: Option<Box<HostStatus>>,
}

impl From<&Reply> for Wire {
    fn from(reply: &Reply) -> Self {
        let wire = Self { id: reply.id.to_string(), ..Self::default() };
        match reply.body.clone() {
            Body::Progress(phase, elapsed) => {
                Self { progress: Some(phase), elapsed_ms: Some(millis(elapsed)), ..wire }
            }
            Body::Verdict(verdict) => wire.verdict(verdict),
            Body::Items(items, more) => Self {
                items: Some(items),
                more: Some(more),
                verdict: (!more).then_some(RulingWord::Done),
                ..wire
            },
            Body::Whoami(guest) => Self { verdict: Some(RulingWord::Done), guest: Some(guest), ..wire },
            Body::HostStatus(status) => Self {
                verdict: Some(RulingWord::Done),
                simulated: status.simulated.then_some(true),
                host_status: Some(status),
                ..wire
            },
            Body::Hello(hello) => Self {
                verdict: Some(RulingWord::Done),
                server: Some(hello.server),
                protocol: Some(hello.protocol),
                nonce: Some(hello.nonce),
                guest: Some(hello.guest),
                ops: Some(hello.ops),
                line_bytes: Some(hello.line_bytes),
                ..wire
            },
        }
    }
}

impl Wire {
    fn verdict(self, verdict: Verdict) -> Self {
        let (word, reason) = match verdict.ruling {
            Ruling::Done => (RulingWord::Done, None),
            Ruling::Refused(reason) => (RulingWord::Refused, Some(reason)),
            Ruling::Failed(reason) => (RulingWord::Failed, Some(reason)),
        };
        Self {
            verdict: Some(word),
            reason,
            state: verdict.state,
            detail: verdict.detail.map(|text| shorten(&text)),
            evidence: verdict.evidence,
            uuid: verdict.uuid,
            took_ms: verdict.took.map(millis),
            simulated: verdict.simulated.then_some(true),
            ..self
        }
    }

    fn body(self) -> Result<Body, &'static str> {
        let of_a_target = self.state.is_some() || self.evidence.is_some() || self.reason.is_some();
        let (is_list, is_status) = (self.items.is_some(), self.host_status.is_some());
        let kinds = [self.progress.is_some(), is_list, is_status, self.guest.is_some(), of_a_target];
        if kinds.iter().filter(|kind| **kind).count() > 1 {
            return Err("more than one kind of reply");
        }
        match self {
            Self { progress: Some(phase), elapsed_ms, verdict: None, .. } => {
                Ok(Body::Progress(phase, Duration::from_millis(elapsed_ms.unwrap_or(0))))
            }
            Self { items: Some(items), more: Some(true), verdict: None, .. } => Ok(Body::Items(items, true)),
            Self { items: Some(items), more: Some(false), verdict: Some(RulingWord::Done), .. } => {
                Ok(Body::Items(items, false))
            }
            Self { items: Some(_), .. } => Err("items whose `more` and verdict do not agree"),
            Self { server: Some(server), guest: Some(guest), verdict: Some(RulingWord::Done), .. } => {
                let (nonce, ops, protocol) = (self.nonce, self.ops, self.protocol);
                let line_bytes = self.line_bytes.unwrap_or(LINE_BYTES);
                let hello = || {
                    Some(Hello { server, protocol: protocol?, nonce: nonce?, guest, ops: ops?, line_bytes })
                };
                hello().map(Body::Hello).ok_or("hello without nonce, ops or protocol")
            }
            Self { server: Some(_), .. } => Err("hello without guest or verdict done"),
            Self { guest: Some(guest), verdict: Some(RulingWord::Done), .. } => Ok(Body::Whoami(guest)),
            Self { guest: Some(_), .. } => Err("guest without verdict done"),
            Self { host_status: Some(status), verdict: Some(RulingWord::Done), simulated, .. } => {
                let simulated = simulated.unwrap_or(false);
                Ok(Body::HostStatus(Box::new(HostStatus { simulated, ..*status })))
            }
            Self { host_status: Some(_), .. } => Err("host-status without verdict done"),
            Self { progress: Some(_), .. } => Err("progress with a verdict"),
            Self { verdict: None, .. } => Err("neither progress nor verdict"),
            Self { verdict: Some(word), .. } => self.ruled(word),
        }
    }

    fn ruled(self, word: RulingWord) -> Result<Body, &'static str> {
        let ruling = match (word, self.reason) {
            (RulingWord::Done, None) => Ruling::Done,
            (RulingWord::Refused, Some(reason)) => Ruling::Refused(reason),
            (RulingWord::Failed, Some(reason)) => Ruling::Failed(reason),
            (RulingWord::Done, Some(_)) => return Err("done with a reason"),
            (RulingWord::Refused | RulingWord::Failed, None) => return Err("no reason"),
        };
        Ok(Body::Verdict(Verdict {
            ruling,
            state: self.state,
            evidence: self.evidence,
            uuid: self.uuid,
            took: self.took_ms.map(Duration::from_millis),
            detail: self.detail,
            simulated: self.simulated.unwrap_or(false),
        }))
    }
}

impl Serialize for Reply {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::from(self).serialize(serializer)
    }
}

impl Reply {
    /// The reply in a line's JSON.
    pub fn parse(json: &[u8]) -> Result<Self, ReplyError> {
        let wire: Wire = from_object(json).map_err(|e| ReplyError(e.to_string()))?;
        let id = wire.id.parse::<RequestId>().map_err(|e| ReplyError(e.to_string()))?;
        let body = wire.body().map_err(|e| ReplyError(e.to_owned()))?;
        Ok(Self { id, body })
    }

    /// A whole list as lines, each within the limit.
    pub fn list_lines(id: RequestId, items: Vec<Item>) -> Result<Vec<Vec<u8>>, LineError> {
        Self::list_parts(id, items, 0).iter().map(encode_line).collect()
    }

    /// A whole list as replies, each of which fits into a line whose tag is so many bytes longer than a checksum.
    pub(crate) fn list_parts(id: RequestId, items: Vec<Item>, tag_bytes: usize) -> Vec<Self> {
        let most = LIST_ROOM.saturating_sub(tag_bytes);
        let mut parts = vec![Vec::new()];
        let mut room = most;
        for item in items {
            let size = ITEM_BYTES + escaped_length(item.name.as_str());
            let full = size > room;
            if full {
                parts.push(Vec::new());
                room = most;
            }
            room = room.saturating_sub(size);
            if let Some(part) = parts.last_mut() {
                part.push(item);
            }
        }
        let last = parts.len() - 1;
        let part = |(n, items)| Self { id, body: Body::Items(items, n < last) };
        parts.into_iter().enumerate().map(part).collect()
    }
}

/// Bytes of a line that its items may fill, and of an item without its name.
const LIST_ROOM: usize = LINE_BYTES - 128;
const ITEM_BYTES: usize = 80;

/// Bytes of a text in ASCII JSON.
fn escaped_length(text: &str) -> usize {
    let is_its_own = is_plain(text) && !text.contains(['"', '\\']);
    if is_its_own { text.len() } else { text.chars().map(escaped).sum() }
}

/// Bytes of a character in ASCII JSON.
fn escaped(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if c.is_ascii() => 1,
        c => 6 * c.len_utf16(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn shorten(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.char_indices()
        .take_while(|(at, c)| at + c.len_utf8() <= DETAIL_BYTES)
        .map(|(_, c)| clean(c))
        .collect()
}
