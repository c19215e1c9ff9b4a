//! An order that is under way, as its askers and the arbiter see it.
//!
//! In:  how far it is. Out: its verdict, for all who wait, for who asks again, and for the journal.
//!
//! Invariant: an order that is open is closed once, whatever becomes of its task; one that the agent's own end interrupts stays
//! open in the journal.

use std::sync::Arc;

use fence_vmchannel_protocol::{Phase, Power, Reason, Verdict};
use tokio::time::Instant;
use uuid::Uuid;

use super::Orders;
use crate::arbiter::OrderNumber;
use crate::domain::{Instance, InstanceId};
use crate::journal;
use crate::order::{Outcome, Proof};
use crate::reply;

/// An order as its askers see it.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) phase: Phase,
    pub(super) instance: Option<Instance>,
    pub(super) proof: Option<Proof>,
    pub(super) outcome: Option<Outcome>,
    /// What is proven to those that had asked before this moment.
    pub(super) earlier: Option<(Instant, Outcome)>,
}

impl Default for View {
    fn default() -> Self {
        Self { phase: Phase::Accepted, instance: None, proof: None, outcome: None, earlier: None }
    }
}

/// An order that is open in the arbiter. If its task ends without closing it, it failed.
pub(super) struct OpenOrder {
    pub(super) orders: Arc<Orders>,
    pub(super) number: OrderNumber,
    pub(super) about: (Uuid, Power),
}

impl OpenOrder {
    /// Nobody joins any more before the outcome is told; who went away finds it when it asks again.
    pub(super) fn close(&self, stopped: Option<InstanceId>, view: &View) {
        let (mut state, at) = (self.orders.lock(), self.orders.now());
        let (state, (target, power)) = (&mut *state, self.about);
        let whole = |verdict| Verdict {
            uuid: Some(target),
            simulated: self.orders.hypervisor.is_simulated(),
            ..verdict
        };
        // What was proven to those that asked early enough is theirs, also if they are not here to hear it.
        for (asked, begun) in
            state.running.remove(&self.number).map(|running| running.asked).unwrap_or_default()
        {
            let earlier = view.earlier_for(begun).filter(|_| state.arbiter.given(&asked).is_none());
            if let Some(verdict) = earlier.map(whole) {
                state.journal.answered(self.number, asked, &verdict);
                state.arbiter.answered(asked.guest, asked.request, &verdict, at);
            }
        }
        let dropped = || Verdict::failed(Reason::UnknownState, "the order was dropped");
        let verdict = whole(view.verdict().unwrap_or_else(dropped));
        state.journal.ended(self.number, journal::Ended { verdict: verdict.clone(), stopped, at });
        state.arbiter.settle(self.number, &verdict, at);
        state.arbiter.finish(target, power, stopped);
    }
}

impl Drop for OpenOrder {
    fn drop(&mut self) {
        let is_open = self.orders.lock().running.contains_key(&self.number);
        // The agent is ending: the next one finds this order open in its journal.
        let goes_on = !std::thread::panicking();
        if is_open && !goes_on {
            self.close(None, &View::default());
        }
    }
}

impl View {
    /// The order's verdict for whoever asked then, once there is one.
    pub(super) fn verdict_for(&self, asked: Instant) -> Option<Verdict> {
        self.earlier_for(asked).or_else(|| self.verdict())
    }

    /// What was proven to those that had asked by then. Whether their target runs again is told by the order's end, unless that tells
    /// less.
    fn earlier_for(&self, asked: Instant) -> Option<Verdict> {
        let outcome = self.proven_to(asked)?;
        let says_all =
            matches!(outcome, Outcome::Off(_)) || matches!(self.outcome, Some(Outcome::Failed(..)));
        says_all.then(|| reply::verdict_of(outcome))
    }

    /// The same, whatever the order comes to.
    pub(super) fn proven_to(&self, asked: Instant) -> Option<&Outcome> {
        self.earlier.as_ref().filter(|(before, _)| asked <= *before).map(|(_, outcome)| outcome)
    }

    /// The order's verdict, once it has ended.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let outcome = self.outcome.as_ref()?;
        let mut verdict = reply::verdict_of(outcome);
        if let Outcome::Failed(reason, why) = outcome {
            verdict.detail = Some(failure(*reason, why, self.instance.as_ref()));
        }
        Some(verdict)
    }
}

/// The failure of an order in words: why, and what its process is doing.
fn failure(reason: Reason, why: &str, instance: Option<&Instance>) -> String {
    match instance.filter(|instance| reason == Reason::CannotKill && !instance.process.is_gone()) {
        Some(instance) => format!("{why}: {}", instance.process.describe()),
        None => why.to_owned(),
    }
}
