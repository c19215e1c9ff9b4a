//! Whose turn it is to ask libvirt about one domain.
//!
//! In:  what a call is about. Out: a turn, sooner or later.
//!
//! Invariant: few calls about one domain run at a time, those that nobody waits for any more included. While libvirtd holds a
//! domain locked, each question about it takes one of its some twenty threads, which are there for everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::pool::Lane;

/// So many questions about one domain at a time: one may hang that is of no use to the next. What changes a domain goes one after
/// the other: a stop of before must not end what is started after it.
const fn at_once(lane: Lane) -> usize {
    match lane {
        Lane::Look | Lane::Decide => 2,
        Lane::Act => 1,
    }
}

/// What a call is about, and what it is for.
pub(super) type Subject = (Uuid, Lane);

/// The turns of all subjects that somebody asks about.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Subject, Arc<Semaphore>>>);

impl Turns {
    /// Waits for a turn, which lasts until it is dropped.
    pub(super) async fn take(&self, subject: Subject) -> Result<OwnedSemaphorePermit, AcquireError> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turns| Arc::strong_count(turns) > 1);
            all.entry(subject).or_insert_with(|| Arc::new(Semaphore::new(at_once(subject.1)))).clone()
        };
        turns.acquire_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SUBJECT: Subject = (Uuid::from_u128(1), Lane::Look);
    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_domain_about_which_calls_hang_is_asked_about_no_more_and_others_are() {
        let turns = Turns::default();
        let hanging = [turns.take(SUBJECT).await.unwrap(), turns.take(SUBJECT).await.unwrap()];

        let same = timeout(MOMENT, turns.take(SUBJECT)).await;
        let others = [(SUBJECT.0, Lane::Act), (Uuid::from_u128(2), Lane::Look)];

        assert!(same.is_err());
        for other in others {
            assert!(timeout(MOMENT, turns.take(other)).await.is_ok());
        }
        drop(hanging);
        assert!(timeout(MOMENT, turns.take(SUBJECT)).await.is_ok());
        assert_eq!(turns.0.lock().unwrap().len(), 1, "nothing is kept of what nobody asks about");
    }
}
