//! One asker's wait for an order.
//!
//! In:  the order's view. Out: progress each second, then exactly one verdict.
//!
//! Invariant: the verdict is there when the client's time is over, or in the asker's next turn; a target that is not proven off is never said
//! to be.

use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::{Body, PowerState, Reason, Reply, Request, RequestId, Verdict};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::open::View;
use super::{Orders, Running, Taken};
use crate::arbiter::OrderNumber;
use crate::journal::Asked;
use crate::order::Outcome;
use crate::reply;

/// How often an asker hears that its order runs.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A wait for an order's end.
pub struct Ticket {
    orders: Arc<Orders>,
    number: OrderNumber,
    view: watch::Receiver<View>,
    /// When its question came first.
    asked: Instant,
    guest: Uuid,
    target: Uuid,
    request: RequestId,
    begun: Instant,
    deadline: Instant,
    next_progress: Instant,
}

impl Ticket {
    pub(super) fn new(
        orders: Arc<Orders>,
        guest: Uuid,
        request: &Request,
        (number, running): (OrderNumber, &Running),
    ) -> Self {
        let begun = Instant::now();
        let asked = running.asked.get(&Asked { guest, request: request.id }).copied().unwrap_or(begun);
        Self {
            orders,
            number,
            view: running.view.clone(),
            asked,
            guest,
            target: running.target,
            request: request.id,
            begun,
            deadline: begun + request.timeout,
            next_progress: begun + PROGRESS_EVERY,
        }
    }

    /// The next reply; after a final one there is none. Cancel safe.
    pub async fn next(&mut self) -> Reply {
        loop {
            let view = self.view.borrow_and_update().clone();
            if let Some(verdict) = view.verdict_for(self.asked) {
                return self.close(verdict);
            }
            let due = self.next_progress.min(self.deadline);
            tokio::select! {
                biased; // a verdict that is there comes before the time that is over
                changed = self.view.changed() => {
                    if changed.is_err() && self.view.borrow().outcome.is_none() {
                        return self.close(Verdict::failed(Reason::UnknownState, "the order was dropped: see the agent's log"));
                    }
                }
                () = sleep_until(due) => {
                    if Instant::now() >= self.deadline {
                        return self.close(self.too_late(&view));
                    }
                    self.next_progress += PROGRESS_EVERY;
                    return Reply { id: self.request, body: Body::Progress(view.phase, self.begun.elapsed()) };
                }
            }
        }
    }

    /// The order goes on, but this asker's time is over.
    fn too_late(&self, view: &View) -> Verdict {
        let off = view.proof.map(|proof| Outcome::Restarted(proof, Err("it is still being started".into())));
        match (off.as_ref().or_else(|| view.proven_to(self.asked)), &view.instance) {
            (Some(proven), _) => reply::verdict_of(proven),
            (None, Some(instance)) if !instance.process.is_gone() => {
                let what =
                    format!("not stopped in time, still {}: {}", view.phase, instance.process.describe());
                Verdict::failed(Reason::Timeout, what)
            }
            (None, _) => Verdict::failed(Reason::Timeout, format!("not done in time, still {}", view.phase)),
        }
    }

    fn close(&self, verdict: Verdict) -> Reply {
        let (asked, now) = (Asked { guest: self.guest, request: self.request }, self.orders.now());
        let mut state = self.orders.lock();
        let verdict = state.arbiter.given(&asked).cloned().unwrap_or(verdict); // on another channel, or to all
        let verdict = Verdict {
            uuid: Some(self.target),
            took: verdict.took.or(Some(self.begun.elapsed())),
            simulated: self.orders.hypervisor.is_simulated(),
            ..verdict
        };
        debug_assert!(verdict.state != Some(PowerState::Off) || verdict.evidence.is_some());
        state.journal.answered(self.number, asked, &verdict);
        state.arbiter.answered(self.guest, self.request, &verdict, now);
        Reply { id: self.request, body: Body::Verdict(verdict) }
    }
}

impl Taken {
    /// The next reply to this request.
    pub async fn next(&mut self, id: RequestId) -> Reply {
        match self {
            Self::Ticket(ticket) => ticket.next().await,
            Self::Verdict(verdict) => Reply { id, body: Body::Verdict(verdict.clone()) },
        }
    }
}
