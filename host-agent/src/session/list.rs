//! Makes a list: the targets that a guest may see, and their states.
//!
//! In:  who asks. Out: the lines of the answer.
//!
//! Invariant: a list is made in small parts, between which others are answered and of which all guests together get only so
//! many; so what many guests list over and over delays only lists.

use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::{Item, RequestId, Seal};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::Instant;
use uuid::Uuid;

use crate::channel::board::Board;
use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::inventory::{Inventory, look_at_all};
use crate::policy::{Action, Policy};

/// How long a list waits for the states of domains that libvirt is just stopping.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many domains are judged, or looked at, at a time.
const PART: usize = 128;

/// A list that is to be made.
pub(super) struct Listing {
    pub(super) guest: Uuid,
    pub(super) hypervisor: Arc<dyn Hypervisor>,
    pub(super) inventory: watch::Receiver<Arc<Inventory>>,
    pub(super) policy: watch::Receiver<Arc<Policy>>,
    pub(super) board: Board,
    pub(super) seal: Seal,
}

impl Listing {
    /// The lines.
    pub(super) async fn lines(self, id: RequestId) -> Vec<Vec<u8>> {
        let visible = self.visible().await;
        let until = Instant::now() + PATIENCE;
        let mut items = Vec::with_capacity(visible.len());
        for part in visible.chunks(PART) {
            self.board.pace().await;
            let patience = until.saturating_duration_since(Instant::now());
            let states = look_at_all(&*self.hypervisor, part, patience).await;
            let named = part.iter().zip(states);
            items.extend(named.map(|(domain, state)| Item {
                name: domain.name.clone(),
                uuid: domain.uuid,
                state,
            }));
        }
        self.seal.list_lines(id, items).unwrap_or_default()
    }

    /// What the guest may see, by name.
    async fn visible(&self) -> Vec<Arc<Domain>> {
        let (domains, rules) = (self.inventory.borrow().clone(), self.policy.borrow().clone());
        let Some(source) = domains.get(self.guest) else { return Vec::new() };
        let mut visible = Vec::new();
        for (number, domain) in domains.iter().enumerate() {
            if number % PART == 0 {
                self.board.pace().await;
                yield_now().await;
            }
            if rules.decide(source, Action::List, domain).allowed {
                visible.push(domain.clone());
            }
        }
        visible.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        visible
    }
}
