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

use crate::agent::Agent;
use crate::channel::board::Board;
use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::identity::Caller;
use crate::inventory::{Inventory, look_at_all};
use crate::policy::{Action, Policy, Source};

/// How long a list waits for the states of domains that libvirt is just stopping.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many domains are judged, or looked at, at a time.
const PART: usize = 128;

/// A list that is to be made.
pub(crate) struct Listing {
    caller: Caller,
    hypervisor: Arc<dyn Hypervisor>,
    inventory: watch::Receiver<Arc<Inventory>>,
    policy: watch::Receiver<Arc<Policy>>,
    board: Board,
}

impl Listing {
    /// A list for this caller.
    pub(crate) fn of(agent: &Agent, caller: Caller) -> Self {
        let Agent { hypervisor, inventory, policy, board, .. } = agent.clone();
        Self { caller, hypervisor, inventory, policy, board }
    }

    /// The lines of a v2 answer.
    pub(crate) async fn lines(self, id: RequestId, seal: Seal) -> Vec<Vec<u8>> {
        seal.list_lines(id, self.items().await).unwrap_or_default()
    }

    /// What is in it.
    pub(crate) async fn items(self) -> Vec<Item> {
        let visible = self.visible().await;
        let until = Instant::now() + PATIENCE;
        let named = self.hypervisor.named_now();
        let mut items = Vec::with_capacity(visible.len());
        for part in visible.chunks(PART) {
            self.board.pace().await;
            let patience = until.saturating_duration_since(Instant::now());
            let states = look_at_all(&*self.hypervisor, (part, named.as_ref()), patience).await;
            let named = part.iter().zip(states);
            items.extend(named.map(|(domain, state)| Item {
                name: domain.name.clone(),
                uuid: domain.uuid,
                state,
            }));
        }
        items
    }

    /// What the guest may see, by name.
    async fn visible(&self) -> Vec<Arc<Domain>> {
        let (domains, rules) = (self.inventory.borrow().clone(), self.policy.borrow().clone());
        let Some(source) = Source::of(&self.caller, &domains) else { return Vec::new() };
        let mut visible = Vec::new();
        for (number, domain) in domains.iter().enumerate() {
            if number % PART == 0 {
                self.board.pace().await;
                yield_now().await;
            }
            if rules.allows(source, Action::List, domain) {
                visible.push(domain.clone());
            }
        }
        visible.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        visible
    }
}
