//! What the broker reads of a reply: whose it is, and whether more follows.
//!
//! In:  the JSON of a line from the host. Out: a [`Heading`].
//!
//! Invariant: a reply of a kind that this broker does not know passes like any other.

use fence_vmchannel_protocol::{Frame, Reason, RequestId, encode_json};
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct Wire {
    id: String,
    #[serde(default)]
    progress: Option<IgnoredAny>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    reason: Option<String>,
}

/// The part of a reply that the broker reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heading {
    /// `None` for a reply to a line whose own id the host could not read, or did not believe.
    pub(super) id: Option<RequestId>,
    pub(super) is_final: bool,
    pub(super) reason: Option<Reason>,
}

impl Heading {
    fn of(json: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(json).ok()?;
        let id: RequestId = wire.id.parse().ok()?;
        let id = (id != RequestId::NONE).then_some(id);
        let reason = Reason::ALL.iter().copied().find(|reason| Some(reason.word()) == wire.reason.as_deref());
        Some(Self { id, is_final: wire.progress.is_none() && !wire.more, reason })
    }
}

/// A reply's heading, and its line to pass on; `None` for noise.
pub(super) fn read(frame: Frame) -> Option<(Heading, Vec<u8>)> {
    match frame {
        Frame::Plain(json) => Some((Heading::of(&json)?, encode_json(&json).ok()?)),
        Frame::Signed(line) => Some((Heading::of(line.unopened())?, line.to_line())),
        Frame::Noise(_) | Frame::Legacy(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heading(rest: &str) -> Option<Heading> {
        Heading::of(format!("{{\"id\":\"5f0c9a3e7b1d48266f1e0d9c8b7a6950\",{rest}}}").as_bytes())
    }

    #[test]
    fn only_progress_and_parts_of_a_list_are_not_the_end() {
        let is_final = |rest| heading(rest).unwrap().is_final;

        assert!(!is_final("\"progress\":\"stopping\",\"elapsed_ms\":5"));
        assert!(!is_final("\"items\":[],\"more\":true"));
        assert!(is_final("\"items\":[],\"more\":false,\"verdict\":\"done\""));
        assert!(is_final("\"verdict\":\"failed\",\"reason\":\"timeout\""));
        assert!(is_final("\"something\":\"new\""));
    }

    #[test]
    fn what_is_no_reply_has_no_heading() {
        assert!(Heading::of(b"{}").is_none());
        assert!(Heading::of(b"[1]").is_none());
        assert!(Heading::of(b"{\"id\":\"short\"}").is_none());
    }

    #[test]
    fn a_reply_to_an_unreadable_line_has_no_id() {
        let json =
            b"{\"id\":\"00000000000000000000000000000000\",\"verdict\":\"refused\",\"reason\":\"bad-frame\"}";

        let heading = Heading::of(json).unwrap();

        assert_eq!((heading.id, heading.reason), (None, Some(Reason::BadFrame)));
    }
}
