//! Makes a list: the targets that a guest may see, and their states.
//!
//! In:  who asks. Out: the lines of the answer.
//!
//! Invariant: a list is made in small parts, between which others are answered and of which all guests together get only so
//! many, and the larger steps one after the other; so what many guests list over and over delays only lists.

pub(crate) mod names;

use std::borrow::Cow;
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
/// So many lines are written down at a time, with some 35 domains each.
const LINES: usize = 4;

/// A list that is to be made.
pub(crate) struct Listing {
    asked: Instant,
    caller: Caller,
    hypervisor: Arc<dyn Hypervisor>,
    inventory: watch::Receiver<Arc<Inventory>>,
    policy: watch::Receiver<Arc<Policy>>,
    board: Board,
}

impl Listing {
    /// A list for this caller, who asks now.
    pub(crate) fn of(agent: &Agent, caller: Caller) -> Self {
        let Agent { hypervisor, inventory, policy, board, .. } = agent.clone();
        Self { asked: Instant::now(), caller, hypervisor, inventory, policy, board }
    }

    /// The lines of a v2 answer.
    pub(crate) async fn lines(self, id: RequestId, seal: Seal) -> Vec<Vec<u8>> {
        let board = self.board.clone();
        let parts = seal.list_parts(id, self.items().await);
        let mut lines = Vec::with_capacity(parts.len());
        for some in parts.chunks(LINES) {
            board.turns().line_up().await; // lists that began together would all be written down together
            for part in some {
                let Ok(line) = seal.line(part) else { return Vec::new() };
                lines.push(line);
            }
        }
        lines
    }

    /// What is in it.
    pub(crate) async fn items(mut self) -> Vec<Item> {
        let visible = self.visible().await;
        let until = Instant::now() + PATIENCE;
        self.board.turns().line_up().await;
        let named = self.board.names().since(self.asked, || self.hypervisor.named_now());
        let mut items = Vec::with_capacity(visible.len());
        for part in visible.chunks(PART) {
            self.board.pace().await;
            let part = self.as_they_are(part);
            let patience = until.saturating_duration_since(Instant::now());
            let asked = (&part[..], named.as_deref());
            let states = look_at_all(&*self.hypervisor, &self.inventory, asked, patience).await;
            let named = part.iter().zip(states);
            items.extend(named.map(|(domain, state)| Item {
                name: domain.name.clone(),
                uuid: domain.uuid,
                state,
            }));
        }
        items
    }

    /// These domains by what is known of them now, without those that are no more: a list that had to wait for its turn may have
    /// been asked for long ago.
    fn as_they_are<'a>(&self, part: &'a [Arc<Domain>]) -> Cow<'a, [Arc<Domain>]> {
        if let Ok(false) = self.inventory.has_changed() {
            return part.into();
        }
        let now = self.inventory.borrow();
        part.iter().filter_map(|domain| now.get(domain.uuid).cloned()).collect()
    }

    /// What the guest may see, by name.
    async fn visible(&mut self) -> Vec<Arc<Domain>> {
        let (domains, rules) = (self.inventory.borrow_and_update().clone(), self.policy.borrow().clone());
        let Some(source) = Source::of(&self.caller, &domains) else { return Vec::new() };
        let mut visible = Vec::new();
        self.board.turns().line_up().await;
        for (number, domain) in domains.by_name().iter().enumerate() {
            if number % PART == 0 {
                self.board.pace().await;
                yield_now().await;
            }
            if rules.allows(source, Action::List, domain) {
                visible.push(domain.clone());
            }
        }
        visible
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;
    use crate::domain::Standing;
    use crate::hypervisor::simulated::{Entry, Simulated};
    use crate::identity::Guest;

    /// A list for web1 of web1, web2 and web3, and what publishes its inventory.
    async fn listing() -> (Listing, Vec<Domain>, watch::Sender<Arc<Inventory>>) {
        let entry = |name: &str, number| Entry {
            name: name.parse().unwrap(),
            uuid: uuid::Uuid::from_u128(number),
            cluster: Some("web".into()),
            running: true,
            persistent: true,
            stop_ms: 0,
            stubborn: false,
            immortal: false,
        };
        let hypervisor = Simulated::of(
            vec![entry("web1", 1), entry("web2", 2), entry("web3", 3)],
            std::path::Path::new("/run"),
        );
        let domains = hypervisor.domains().await.unwrap();
        let caller = Caller::Guest(Guest::recognise(&hypervisor, &domains[0], 0).unwrap());
        let (published, inventory) = watch::channel(Arc::new(domains.clone().into_iter().collect()));
        let (hypervisor, policy) = (Arc::new(hypervisor), watch::channel(Arc::default()).1);
        let (asked, board) = (Instant::now(), Board::default());
        (Listing { asked, caller, hypervisor, inventory, policy, board }, domains, published)
    }

    #[tokio::test]
    async fn a_list_that_waited_for_its_turn_tells_what_is_known_now() {
        let (mut listing, mut domains, published) = listing().await;

        let visible = listing.visible().await;
        domains.pop();
        domains[1] = Domain { standing: Standing::Moved, instance: None, ..domains[1].clone() };
        published.send_replace(Arc::new(domains.into_iter().collect()));
        let now = listing.as_they_are(&visible);

        let names: Vec<_> = now.iter().map(|domain| (domain.name.as_str(), domain.standing)).collect();
        assert_eq!(names, [("web1", Standing::Active), ("web2", Standing::Moved)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_larger_steps_of_lists_are_done_one_after_the_other() {
        let (listing, ..) = listing().await;
        let board = listing.board.clone();
        let mut another = board.turns().line_up();
        assert!((&mut another).now_or_never().is_none());

        let mut lines = Box::pin(listing.lines(RequestId::NONE, Seal::Checksum));
        assert!(timeout(Duration::from_secs(1), &mut lines).await.is_err(), "somebody else has its turn");
        another.await;

        assert_eq!(lines.await.len(), 1);
    }
}
