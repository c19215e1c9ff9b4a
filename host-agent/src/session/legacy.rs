//! The serial dialect of a session: structs ask, structs answer.
//!
//! In:  a decoded struct. Out: at most one answer on its way, in the bytes of `docs/protocol.md`.
//!
//! Invariant: a reply carries nothing of its request, so nothing is said once another question was heard; no question is answered
//! with what was decided before it; the same `reboot` twice is not done twice.

use std::time::Duration;

use fence_vmchannel_protocol::Frame;
use fence_vmchannel_protocol::legacy::{Code, HostRecord, Op, SerialReply, SerialRequest, StructError};
use futures_util::FutureExt;
use futures_util::future::ready;
use tokio::time::Instant;

use super::answer::Session;
use super::waiting::Waiting;
use crate::identity::{Caller, Dialect};
use crate::legacy::PATIENCE;
use crate::legacy::question::{Answer, Question, ask};

/// For how long the same `reboot` is taken for a repeat, counted from when it was asked.
const REPEATED: Duration = Duration::from_secs(60);
/// Records in one part of a list: somewhat less than a page.
const PART: usize = 31;

/// The last question that came as a struct, and when.
#[derive(Debug, Default)]
pub(super) struct LastStruct(Option<(SerialRequest, Instant)>);

impl LastStruct {
    fn is(&self, request: &SerialRequest) -> bool {
        self.0.as_ref().is_some_and(|(last, at)| last == request && at.elapsed() < REPEATED)
    }
}

/// Takes what is asked as a struct; gives back what is not. Noise is no question: only that leaves the answer to the struct before.
pub(super) fn take(frame: Frame, session: &mut Session<'_>, waiting: &mut Waiting) -> Option<Frame> {
    match frame {
        Frame::Legacy(asked) => {
            on_struct(asked, session, waiting);
            None
        }
        Frame::Noise(_) => Some(frame),
        Frame::Plain(_) | Frame::Signed(_) => {
            waiting.drop_legacy();
            Some(frame)
        }
    }
}

fn on_struct(asked: Result<SerialRequest, StructError>, session: &mut Session<'_>, waiting: &mut Waiting) {
    let request = match asked {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(asker = %session.guest.name(), %error, "a struct was not taken");
            session.legacy = LastStruct::default();
            waiting.push_legacy(ready(parts_of(Answer::Code(Code::Failure))).boxed());
            return;
        }
    };
    if session.agent.orders.were_held_up() {
        waiting.push_legacy(ready(parts_of(Answer::Code(Code::Failure))).boxed()); // who asked it may be gone
        return;
    }
    let is_repeat = session.legacy.is(&request);
    if is_repeat && waiting.awaits_legacy() {
        return; // the answer is on its way
    }
    if is_repeat && request.op == Op::Reboot {
        waiting.push_legacy(ready(parts_of(Answer::Code(Code::Failure))).boxed());
        return;
    }
    let caller = Caller::Guest(session.guest.clone().speaking(Dialect::Serial));
    let question = Question { op: request.op, target: request.target.clone(), patience: PATIENCE };
    let coming = ask(session.agent, &caller, session.quota, &question);
    waiting.push_legacy(coming.map(parts_of).boxed());
    session.legacy = LastStruct(Some((request, Instant::now())));
}

/// The bytes of an answer, in parts: a long list waits for its client to read.
fn parts_of(answer: Answer) -> Vec<Vec<u8>> {
    match answer {
        Answer::Code(code) => vec![SerialReply(code).encode().into()],
        Answer::List(items) => {
            let begin = SerialReply(Code::List).encode().to_vec();
            let records = items.chunks(PART).map(|part| part.iter().flat_map(HostRecord::encode).collect());
            let end = [&HostRecord::END[..], &SerialReply(Code::Success).encode()].concat();
            [begin].into_iter().chain(records).chain([end]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use fence_vmchannel_protocol::{Item, PowerState};

    use super::*;

    #[test]
    fn a_list_is_its_code_its_records_an_empty_one_and_success() {
        let item = |number: u128| Item {
            name: format!("web{number}").parse().unwrap(),
            uuid: uuid::Uuid::from_u128(number),
            state: Some(PowerState::On),
        };
        let items: Vec<Item> = (0..70).map(item).collect();

        let bytes = parts_of(Answer::List(items.clone())).concat();

        let records: Vec<u8> = items.iter().flat_map(HostRecord::encode).collect();
        let expected = [&b"abba\xfd"[..], &records, &[0; 130], b"abba\0"].concat();
        assert_eq!(bytes, expected);
    }
}
