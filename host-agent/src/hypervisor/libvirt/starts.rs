//! Which starts are under way, also those that nobody waits for any more.
//!
//! In:  the begin and the end of calls that start domains. Out: the moment in which none of a domain's is left.
//!
//! Invariant: what libvirt was told to start is under way until its call returns, however long after its deadline.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

/// All starts under way.
#[derive(Debug, Default, Clone)]
pub(super) struct Starts(Arc<watch::Sender<HashMap<Uuid, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Starts, Uuid);

impl Starts {
    pub(super) fn begin(&self, uuid: Uuid) -> UnderWay {
        self.0.send_modify(|all| *all.entry(uuid).or_default() += 1);
        UnderWay(self.clone(), uuid)
    }

    /// Waits until none of this domain is under way.
    pub(super) async fn none_of(&self, uuid: Uuid) {
        let _ = self.0.subscribe().wait_for(|all| !all.contains_key(&uuid)).await; // it cannot be closed
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|all| {
            let left = all.remove(&self.1).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                all.insert(self.1, left);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_start_is_under_way_until_the_last_call_of_its_domain_returns() {
        let (starts, uuid) = (Starts::default(), Uuid::from_u128(1));
        let [one, other] = [starts.begin(uuid), starts.begin(uuid)];

        assert!(starts.none_of(Uuid::from_u128(2)).now_or_never().is_some());
        drop(one);
        assert!(starts.none_of(uuid).now_or_never().is_none());
        drop(other);
        assert!(starts.none_of(uuid).now_or_never().is_some());
        assert!(starts.0.borrow().is_empty(), "nothing is kept of what has ended");
    }
}
