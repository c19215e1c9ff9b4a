//! Which domains libvirt's files tell of, read for many lists at once.
//!
//! In:  when a list was asked for. Out: the names, as they were read since.
//!
//! Invariant: no list is made of what was read before it was asked for; what no list uses any more is not kept.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::time::Instant;

/// The last reading.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<Option<Reading>>);

#[derive(Debug)]
struct Reading {
    begun: Instant,
    names: Weak<BTreeSet<String>>,
}

impl Names {
    /// The names for a list that was asked for then: those that another list uses, or as they are `read` now.
    pub(crate) fn since(
        &self,
        asked: Instant,
        read: impl FnOnce() -> Option<BTreeSet<String>>,
    ) -> Option<Arc<BTreeSet<String>>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let younger = last.as_ref().filter(|reading| reading.begun > asked);
        if let Some(names) = younger.and_then(|reading| reading.names.upgrade()) {
            return Some(names);
        }
        let begun = Instant::now();
        let names = Arc::new(read()?);
        *last = Some(Reading { begun, names: Arc::downgrade(&names) });
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn named(name: &str) -> Option<BTreeSet<String>> {
        Some(BTreeSet::from([name.to_owned()]))
    }

    #[tokio::test(start_paused = true)]
    async fn lists_that_waited_together_share_a_reading_and_none_uses_an_older_one() {
        let (names, asked) = (Names::default(), Instant::now());
        advance(Duration::from_millis(1)).await;
        let first = names.since(asked, || named("web1")).unwrap();

        let second = names.since(asked, || None).unwrap();
        let asked_as_it_was_read = names.since(Instant::now(), || named("web2")).unwrap();

        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(*asked_as_it_was_read, named("web2").unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_list_uses_any_more_is_read_again() {
        let (names, asked) = (Names::default(), Instant::now());
        advance(Duration::from_millis(1)).await;
        drop(names.since(asked, || named("web1")));

        assert!(names.since(asked, || None).is_none(), "nor is an older one taken where it cannot be read");
        assert_eq!(names.since(asked, || named("web2")).as_deref(), named("web2").as_ref());
    }
}
