//! Whether an order looks at its target once more before it says anything.
//!
//! In:  how far it is, who joined it, what else is under way. Out: that it is to look again, and what is proven all the same.
//!
//! Invariant: nobody is told what was seen before the question came, nor "off" of what a start of before may still start.

use fence_vmchannel_protocol::Power;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::carry::Carrier;
use crate::order::{Order, Outcome, Step};

/// Why a target that was off was not started.
const FOR_ANOTHER: &str = "it was looked at once more for somebody who asked later";

impl Carrier {
    /// Whether somebody joined after the last look: what it saw is older than their question.
    pub(super) fn is_stale(&self, order: &Order, step: Option<Step>) -> bool {
        let is_off = matches!(order.outcome(), Some(Outcome::Off(_)));
        let is_about_to_start = step == Some(Step::Start) && order.proof().is_some();
        (is_off || is_about_to_start) && {
            let joined = self.orders.joined(self.errand.number);
            joined.is_some_and(|joined| joined > *self.looked.borrow())
        }
    }

    /// Whether a start of before is still under way, which libvirt may do after this order's end. While it prepares one, it says
    /// nothing clear.
    pub(super) fn may_be_started(&mut self, order: &Order, is_unclear: bool) -> bool {
        let is_off = matches!(order.outcome(), Some(Outcome::Off(_)));
        let is_unclear = is_unclear && self.errand.permit.power() != Power::On;
        let none = self.orders.nothing_starts(self.errand.permit.target());
        self.is_to_wait = (is_off || is_unclear) && none.now_or_never().is_none();
        self.is_to_wait
    }

    /// What is proven to those that asked before the last look.
    pub(super) fn proven(&self, order: &Order) -> Option<(Instant, Outcome)> {
        let outcome = match order.outcome() {
            Some(Outcome::Off(proof)) => Outcome::Off(*proof),
            None => Outcome::Restarted(order.proof()?, Err(FOR_ANOTHER.to_owned())),
            Some(Outcome::Restarted(..) | Outcome::On | Outcome::Failed(..)) => return None,
        };
        Some((*self.looked.borrow(), outcome))
    }

    /// A reboot whose target is gone is joined no more: who asks now asks about what runs next. If that is to be stopped too, it is.
    pub(super) fn shut(&self, is_gone: bool) {
        if self.errand.permit.power() == Power::Reboot {
            let mut state = self.orders.lock();
            let joined = state.running.get(&self.errand.number).and_then(|running| running.joined);
            let is_stale = joined.is_some_and(|joined| joined > *self.looked.borrow());
            state.arbiter.starting(self.errand.permit.target(), Power::Reboot, is_gone && !is_stale);
        }
    }
}
