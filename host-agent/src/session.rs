//! Serves one guest: the whole flow of the agent on one screen.
//!
//! In:  requests decoded from this guest's own channel.
//! Out: exactly one final [`Reply`] for each, carrying the request's id.
//!
//! Invariant: who is asking comes from the channel, never from the bytes.

mod answer;
mod list;
mod waiting;

use fence_vmchannel_protocol::{Ask, Frame, Reason, Reply, Request, RequestId};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::agent::Agent;
use crate::audit::Quota;
use crate::channel::{Channel, Ended};
use crate::identity::Guest;
use crate::policy::Action;
use answer::Session;
use waiting::Waiting;

/// Serves a guest until its channel ends.
pub async fn serve<S>(mut channel: Channel<S>, guest: &Guest, agent: &Agent, quota: &Quota) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut session = Session::new(guest, agent, quota);
    let mut waiting = Waiting::default();
    loop {
        let has_room = channel.has_room();
        let said = tokio::select! {
            biased; // a guest may ask only so often, so what it asks never keeps its answers back
            frame = channel.hear() => match frame {
                Ok(Some(frame)) => on_frame(frame, &mut session, &mut waiting).map(|reply| channel.say(&reply)),
                Ok(None) => None, // room again for what waits
                Err(ended) => return ended,
            },
            line = waiting.next_line(has_room) => Some(channel.say_line(&line)),
        };
        if let Some(Err(ended)) = said {
            return ended;
        }
    }
}

/// The reply that can be given at once; the others wait for their order, their turn or libvirt.
fn on_frame(frame: Frame, session: &mut Session<'_>, waiting: &mut Waiting) -> Option<Reply> {
    match frame {
        Frame::Plain(json) => match Request::parse(&json) {
            Ok(request) => on_request(&request, session, waiting),
            Err(error) => Some(session.bad_request(&error)),
        },
        Frame::Signed(_) => Some(session.refuse(RequestId::NONE, Reason::BadSignature)),
        Frame::Legacy(_) | Frame::Noise(_) => session.bad_frame(),
    }
}

fn on_request(request: &Request, session: &mut Session<'_>, waiting: &mut Waiting) -> Option<Reply> {
    match waiting.asked(request.id) {
        Some(asked) if *asked == request.ask => return None, // a repeat: the answer is on its way
        Some(_) => return Some(session.refuse(request.id, Reason::BadRequest)),
        None => {}
    }
    if waiting.is_full() || (request.ask == Ask::List && waiting.is_listing()) {
        return Some(session.refuse(request.id, Reason::Busy));
    }
    match &request.ask {
        Ask::Hello => Some(session.hello(request.id)),
        Ask::Whoami => Some(session.whoami(request.id)),
        Ask::Monitor => Some(session.monitor(request.id)),
        Ask::HostStatus | Ask::Explain(_) => Some(session.refuse(request.id, Reason::Unsupported)),
        Ask::List => waiting.push(request, session.list(request.id)),
        Ask::Status(target) => match session.target(Action::Status, target) {
            Ok(domain) => session.status(request, domain, waiting),
            Err(refusal) => Some(session.refused(request, &refusal)),
        },
        Ask::Power(power, target) => match session.permit(*power, target) {
            Ok(permit) => waiting.push(request, session.order(permit, request)),
            Err(refusal) => match session.asked_before(*power, request) {
                Some(taken) => waiting.push(request, taken),
                None => Some(session.refused(request, &refusal)),
            },
        },
    }
}
