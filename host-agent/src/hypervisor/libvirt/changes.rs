//! What happened, until somebody looks: a queue that cannot grow and cannot lose.
//!
//! In:  libvirt's events, from any thread. Out: [`Change`]s, one at a time.
//!
//! Invariant: whatever does not fit becomes [`Change::Everything`], so no change goes unseen.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::hypervisor::Change;

/// So many domains one by one, then all at once.
const MAX_DOMAINS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Changes {
    pending: Mutex<Pending>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    lost: bool,
    everything: bool,
    leaving: BTreeSet<Uuid>,
    domains: BTreeSet<Uuid>,
}

impl Changes {
    pub(super) fn push(&self, change: Change) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        self.arrived.notify_one();
    }

    /// The next change. Cancel safe: it is taken only when it is returned.
    pub(super) async fn next(&self) -> Change {
        loop {
            let taken = self.pending.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match taken {
                Some(change) => return change,
                None => self.arrived.notified().await,
            }
        }
    }
}

impl Pending {
    fn push(&mut self, change: Change) {
        match change {
            // A look would fail until the reconnect. What was leaving was, whatever becomes of it unseen.
            Change::Lost => {
                *self = Self { lost: true, leaving: std::mem::take(&mut self.leaving), ..Self::default() }
            }
            Change::Leaves(uuid) if self.leaving.len() < MAX_DOMAINS => drop(self.leaving.insert(uuid)),
            Change::Domain(_) if self.everything => {}
            Change::Domain(uuid) if self.domains.len() < MAX_DOMAINS => drop(self.domains.insert(uuid)),
            Change::Domain(_) | Change::Leaves(_) | Change::Everything => {
                self.everything = true;
                self.domains.clear();
            }
        }
    }

    fn pop(&mut self) -> Option<Change> {
        if let Some(uuid) = self.leaving.pop_first() {
            return Some(Change::Leaves(uuid));
        }
        if std::mem::take(&mut self.lost) {
            return Some(Change::Lost);
        }
        if std::mem::take(&mut self.everything) {
            return Some(Change::Everything);
        }
        self.domains.pop_first().map(Change::Domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pushed: impl IntoIterator<Item = Change>) -> Vec<Change> {
        let mut pending = Pending::default();
        pushed.into_iter().for_each(|change| pending.push(change));
        std::iter::from_fn(|| pending.pop()).collect()
    }

    fn domain(number: u128) -> Change {
        Change::Domain(Uuid::from_u128(number))
    }

    #[test]
    fn a_domain_that_changed_twice_is_looked_at_once() {
        assert_eq!(after([domain(1), domain(2), domain(1)]), [domain(1), domain(2)]);
    }

    #[test]
    fn more_domains_than_fit_become_everything() {
        assert_eq!(after((0..300).map(domain)), [Change::Everything]);
    }

    #[test]
    fn a_loss_is_told_before_the_return_and_makes_older_changes_void() {
        let pushed = [domain(1), Change::Everything, Change::Lost, Change::Everything, domain(2)];

        assert_eq!(after(pushed), [Change::Lost, Change::Everything]);
    }

    #[test]
    fn what_leaves_is_told_first_whatever_happened_since() {
        let leaves = Change::Leaves(Uuid::from_u128(2));
        let pushed = [domain(1), leaves, leaves, domain(2), Change::Everything, Change::Lost];

        assert_eq!(after(pushed), [leaves, Change::Lost]);
    }

    #[tokio::test]
    async fn a_cancelled_wait_loses_nothing() {
        let changes = Changes::default();
        assert!(futures_util::FutureExt::now_or_never(changes.next()).is_none());

        changes.push(domain(1));

        assert_eq!(changes.next().await, domain(1));
    }
}
