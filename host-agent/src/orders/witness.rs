//! Sees whether an order's target leaves for another host.
//!
//! In:  the inventory, libvirt's word. Out: what an event means, with what was seen.
//!
//! Invariant: the end of a source that was leaving is no evidence, whoever ended it. libvirt calls it shut off if it was destroyed in
//! its last moments, while the other host runs the machine.

use futures_util::future::BoxFuture;

use super::carry::{Brought, Carrier};
use crate::domain::Standing;
use crate::order::{Event, Found};

impl Carrier {
    /// Remembers that the target was seen to leave: once its source has ended, or libvirt is away, nobody else tells.
    pub(super) fn witness(&self) -> BoxFuture<'static, Brought> {
        let (mut inventory, left) = (self.orders.inventory.clone(), self.left.clone());
        let target = self.errand.permit.target();
        Box::pin(async move {
            loop {
                let standing = inventory.borrow_and_update().get(target).map(|domain| domain.standing);
                match standing {
                    Some(Standing::Leaving | Standing::Moved) => drop(left.send_replace(true)),
                    Some(Standing::Active) => drop(left.send_replace(false)),
                    Some(Standing::Crashed | Standing::ShutOff | Standing::Unclear) | None => {}
                }
                if inventory.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    /// What happened, by what was seen too: the end of a source that was leaving says nothing, whoever ended it.
    pub(super) fn as_it_was_seen(&self, event: Event) -> Event {
        if !*self.left.borrow() {
            return event;
        }
        let is_end = matches!(
            event,
            Event::Confirmed(Ok(Standing::ShutOff))
                | Event::StoppedAndForgotten
                | Event::LibvirtIsSilent
                | Event::Unconfirmable(_)
        );
        if is_end {
            Event::Confirmed(Ok(Standing::Moved))
        } else if event == Event::FoundAgain(Found::Unattended) {
            Event::FoundAgain(Found::Leaving)
        } else {
            event
        }
    }
}
