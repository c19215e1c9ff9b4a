//! Verdicts in words, for the history and the table of what occurred.

use fence_vmchannel_protocol::{Ask, Item, Reason, RequestId, Ruling, Verdict};

use super::Oracle;
use crate::seen::Seen;
use crate::world::State;

impl State {
    pub(super) fn note_reason(&mut self, verdict: &Verdict) {
        let (Ruling::Refused(reason) | Ruling::Failed(reason)) = verdict.ruling else { return };
        self.saw(match reason {
            Reason::NotPermitted => Seen::NotPermitted,
            Reason::Condemned => Seen::Condemned,
            Reason::Busy => Seen::Busy,
            Reason::BadRequest => Seen::BadRequest,
            Reason::BadFrame => Seen::BadFrame,
            Reason::UnknownState => Seen::UnknownState,
            Reason::CannotKill => Seen::CannotKill,
            Reason::StartFailed => Seen::StartFailed,
            Reason::Moved => Seen::Moved,
            Reason::Timeout => Seen::Timeout,
            Reason::Stopping => Seen::Stopping,
            Reason::RateLimited
            | Reason::BadSignature
            | Reason::AmbiguousName
            | Reason::NoQuorum
            | Reason::HostLost
            | Reason::Unsupported => return,
        });
    }
}

pub(super) fn target_of(ask: &Ask) -> String {
    ask.target().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn short(id: RequestId) -> String {
    id.to_string().trim_start_matches('0').to_owned()
}

pub(super) fn told(verdict: &Verdict) -> String {
    let Verdict { ruling, state, evidence, detail, .. } = verdict;
    format!("{ruling:?} {state:?} {evidence:?} {}", detail.as_deref().unwrap_or_default())
}

pub(super) fn listed(items: &[Item]) -> String {
    items.iter().map(|item| format!("{} {:?}, ", item.name.as_str(), item.state)).collect()
}

/// More requests in three seconds than a guest is read at once.
const MANY: usize = 50;

impl Oracle {
    /// Whether more was asked on this line at about this time than a guest is read at once.
    pub(super) fn is_busy(&self, line: usize, then: u64) -> bool {
        let of_line = self.due.range((line, RequestId::NONE)..);
        of_line
            .take_while(|((of, _), _)| *of == line)
            .filter(|(_, due)| due.begins.abs_diff(then) < 3000)
            .count()
            > MANY
    }
}
