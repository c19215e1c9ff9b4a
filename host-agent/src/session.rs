//! Serves one guest: the whole flow of the agent on one screen.
//!
//! In:  requests decoded from this guest's own channel.
//! Out: exactly one final [`Reply`] for each, carrying the request's id.
//!
//! Invariant: who is asking comes from the channel, never from the bytes.

mod answer;
mod heard;
mod knowing;
mod legacy;
mod waiting;

use fence_vmchannel_protocol::{Ask, Frame, Reason, Reply};

use crate::agent::Agent;
use crate::audit::Quota;
use crate::channel::{Channel, Connection, Ended};
use crate::identity::Guest;
use crate::policy::Action;
use answer::Session;
use heard::Heard;
use waiting::{Waiting, line_of};

/// Serves a guest until its channel ends.
pub async fn serve<S>(channel: &mut Channel<S>, guest: &Guest, agent: &Agent, quota: &Quota) -> Ended
where
    S: Connection,
{
    let mut session = Session::new(guest, agent, quota);
    let mut waiting = Waiting::default();
    let turns = agent.board.turns();
    loop {
        let room = waiting.room_in(channel);
        let in_turn = channel.asks_much().then_some(turns);
        let said = tokio::select! {
            biased; // a guest may ask only so often, so what it asks never keeps its answers back
            frame = channel.hear(turns) => match frame {
                Ok(Some(frame)) => on_frame(frame, &mut session, &mut waiting).map(|line| channel.say_line(&line)),
                Ok(None) => None, // room again for what waits
                Err(ended) => return ended,
            },
            line = waiting.next_line(room, in_turn) => Some(channel.say_line(&line)),
            () = room.may_change() => None,
        };
        if let Some(Err(ended)) = said {
            return ended;
        }
    }
}

/// The line of the reply that can be given at once; the others wait for their order, their turn or libvirt.
fn on_frame(frame: Frame, session: &mut Session<'_>, waiting: &mut Waiting) -> Option<Vec<u8>> {
    let frame = legacy::take(frame, session, waiting)?;
    match session.open(frame) {
        Ok(heard) => on_request(&heard, session, waiting).map(|reply| line_of(&reply, &heard.seal)),
        Err(line) => line,
    }
}

fn on_request(heard: &Heard<'_>, session: &mut Session<'_>, waiting: &mut Waiting) -> Option<Reply> {
    let (request, guest) = (&heard.request, &heard.guest);
    if let Some(answer) = session.repeated(heard, waiting) {
        return answer;
    }
    if waiting.is_full() || (request.ask == Ask::List && waiting.is_listing()) {
        return Some(session.refuse(request.id, Reason::Busy));
    }
    match &request.ask {
        Ask::Hello | Ask::Whoami | Ask::Monitor | Ask::HostStatus | Ask::Explain(_) => {
            Some(session.knows(heard))
        }
        Ask::List => session.list(heard, waiting),
        Ask::Status(target) => match session.target(guest, Action::Status, target) {
            Ok(domain) => session.status(heard, domain, waiting),
            Err(refusal) => Some(session.refused(request, &refusal)),
        },
        Ask::Power(power, target) => match session.permit(guest, *power, target) {
            Ok(permit) => waiting.push(heard, session.order(permit, heard)),
            Err(refusal) => match session.asked_before(*power, heard) {
                Some(taken) => waiting.push(heard, taken),
                None => Some(session.refused(request, &refusal)),
            },
        },
    }
}
