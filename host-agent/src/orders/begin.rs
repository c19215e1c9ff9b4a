//! Begins what an order does, if anybody wants it still, and starts its target.
//!
//! In:  an order's carrier. Out: what a start brought.
//!
//! Invariant: nothing is begun for those that have given up, or that are fenced themselves; no start overtakes a stop, and nothing
//! is started here that may run elsewhere.

use std::time::Duration;

use fence_vmchannel_protocol::{Power, Reason};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::State;
use super::carry::{Brought, Call, Carrier};
use crate::domain::{Sighting, Standing};
use crate::hypervisor::{CallError, Recipe};
use crate::inventory::settled;
use crate::journal::Asked;
use crate::order::{Event, Order, Step};

/// How long, and how often, a start is tried again while libvirt is away.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(10);
pub(super) const RETRY_START: Duration = Duration::from_millis(250);

impl Carrier {
    /// Whether somebody still waits for the order's first act on this run of its target, and may want it. What was proven off is
    /// started in any case.
    pub(super) fn is_wanted(&self, step: Step, order: &Order) -> Result<(), Event> {
        if !step.is_felt() || order.proof().is_some() {
            return Ok(());
        }
        let (target, power) = (self.errand.permit.target(), self.errand.permit.power());
        let mut state = self.orders.lock();
        let State { arbiter, running, .. } = &mut *state;
        let running = running.get(&self.errand.number);
        let is_over = running.is_some_and(|running| running.until <= self.orders.now());
        let is_told = |asked: &Asked| {
            let asked = running.and_then(|running| running.asked.get(asked));
            self.earlier.as_ref().zip(asked).is_some_and(|((before, _), asked)| asked <= before)
        };
        let begins =
            if is_over { Err(Reason::Timeout) } else { arbiter.begin_to_act(target, power, is_told) };
        begins.map_err(|reason| {
            let why = if reason == Reason::Condemned {
                "who asked for it is being fenced"
            } else if reason == Reason::Busy {
                "it is to be stopped, for a request that came later"
            } else {
                "nobody waits for it any more"
            };
            Event::NotBegun(reason, format!("{why}, so nothing was done"))
        })
    }

    /// Who asks for a reboot now asks about what runs next; who asks for a start joins this one.
    pub(super) fn starts(&self) {
        if self.errand.permit.power() == Power::Reboot {
            self.orders.lock().arbiter.starting(self.errand.permit.target(), Power::Reboot, true);
        }
    }

    pub(super) fn start(&self) -> BoxFuture<'static, Brought> {
        let (orders, permit, domain) = (self.orders.clone(), self.errand.permit.clone(), self.domain.clone());
        let (mut call, recipe) = (self.call.subscribe(), self.recipe.borrow().clone());
        let (left, denied) = (self.left.subscribe(), self.denied.clone());
        Box::pin(async move {
            let transient = domain.as_ref().is_some_and(|domain| !domain.persistent);
            let recipe = match recipe {
                None if transient => {
                    let why = "it is transient and its definition is gone with it: start it from its XML";
                    return (Event::StartFailed(why.into()), None);
                }
                recipe => recipe.unwrap_or(Recipe::Defined),
            };
            let _ = call.wait_for(Call::is_over).await;
            let standing = match &domain {
                Some(domain) => settled(&*orders.hypervisor, domain, || ()).await.ok(),
                None => None,
            };
            if left.borrow().is_some() || matches!(standing, Some(Standing::Moved | Standing::Leaving)) {
                let why = "somebody started it meanwhile, and it moved to another host";
                return (Event::StartFailed(why.into()), None);
            }
            let patience = Instant::now() + START_PATIENCE;
            loop {
                match orders.hypervisor.start(&permit, &recipe).await {
                    Ok(()) => break,
                    Err(CallError::Unreachable(_)) if Instant::now() < patience => sleep(RETRY_START).await,
                    Err(error) => {
                        // What is not answered may still be done, or was.
                        let is_open = matches!(error, CallError::Deadline(_) | CallError::Unreachable(_));
                        denied.send_replace(!is_open);
                        return (Event::StartFailed(error.to_string()), None);
                    }
                }
            }
            let runs = match &domain {
                Some(domain) => matches!(orders.hypervisor.instance_read(domain).await, Sighting::Runs(_)),
                None => false,
            };
            let ended = "libvirt says started, but there is no process".to_owned();
            (if runs { Event::Started } else { Event::StartFailed(ended) }, None)
        })
    }
}
