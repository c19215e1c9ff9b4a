//! Sees whether an order's target leaves for another host.
//!
//! In:  the inventory, libvirt's word. Out: what an event means, with what was seen.
//!
//! Invariant: the end of a source that was leaving is no evidence, whoever ended it. libvirt calls it shut off if it was destroyed in
//! its last moments, while the other host runs the machine.

use std::sync::Arc;

use fence_vmchannel_protocol::Reason;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::carry::{Brought, Carrier};
use crate::domain::Standing;
use crate::inventory::Hint;
use crate::order::{Event, Found, Order, Outcome};

impl Carrier {
    /// Remembers that the target was seen to leave: once its source has ended, or libvirt is away, nobody else tells.
    pub(super) fn witness(&self) -> BoxFuture<'static, Brought> {
        let (mut inventory, left) = (self.orders.inventory.clone(), self.left.clone());
        let target = self.errand.permit.target();
        Box::pin(async move {
            let (mut known, mut was_elsewhere) = (None, false);
            loop {
                let (domain, is_elsewhere) = {
                    let now = inventory.borrow_and_update();
                    (now.get(target).cloned(), now.elsewhere().contains(&target))
                };
                let is_active = domain.as_ref().is_some_and(|domain| domain.standing == Standing::Active);
                let is_new = domain.as_ref().map(Arc::as_ptr) != known.as_ref().map(Arc::as_ptr);
                if (is_new || is_elsewhere != was_elsewhere) && (is_elsewhere || is_active) {
                    left.send_replace(is_elsewhere.then(Instant::now));
                }
                (known, was_elsewhere) = (domain, is_elsewhere);
                if inventory.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    /// What this order alone saw is told to those that come later: libvirt will never say so.
    pub(super) fn tell_of_its_leaving(&self, order: &Order) {
        let has_moved = matches!(order.outcome(), Some(Outcome::Failed(Reason::Moved, _)));
        if has_moved && self.left.borrow().is_some() {
            let _ = self.orders.hints.try_send(Hint::Leaves(self.errand.permit.target())); // the line is long
        }
    }

    /// What happened, by what was seen too. The end of a source that was leaving says nothing, whoever ended it; nor does an answer to what
    /// was asked before.
    pub(super) fn as_it_was_seen(&self, event: Event) -> Event {
        let Some(left) = *self.left.borrow() else { return event };
        match event {
            Event::Found(Found::Running) | Event::FoundAgain(Found::Running)
                if *self.asked.borrow() >= left =>
            {
                event
            }
            Event::Found(Found::Running) => Event::Found(Found::Leaving),
            Event::FoundAgain(Found::Running | Found::Unattended) => Event::FoundAgain(Found::Leaving),
            Event::Found(Found::NotRunning(Standing::ShutOff, _)) => {
                Event::Found(Found::NotRunning(Standing::Moved, None))
            }
            Event::Found(Found::Unattended) => {
                let why = "it was migrating when it was last seen, and libvirt does not answer";
                Event::Found(Found::Nothing(why.into()))
            }
            Event::Confirmed(Ok(Standing::ShutOff))
            | Event::StoppedAndForgotten
            | Event::LibvirtIsSilent
            | Event::Unconfirmable(_) => Event::Confirmed(Ok(Standing::Moved)),
            Event::Found(_)
            | Event::FoundAgain(_)
            | Event::Confirmed(_)
            | Event::JobAborted(_)
            | Event::StopReturned(_)
            | Event::ProcessGone(..)
            | Event::LookIsOld
            | Event::GraceOver
            | Event::KillFailed(_)
            | Event::RunsAgain
            | Event::Started
            | Event::StartFailed(_)
            | Event::NotBegun(..)
            | Event::DeadlinePassed => event,
        }
    }
}
