//! Looks at all processes of the host, for everybody at once.
//!
//! In:  a UUID and how old a look may be. Out: its process, that there is none, or that nobody could look.
//!
//! Invariant: one look at a time, on a thread that can be left behind; of those there are never more than [`HUNG`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::process::{self, Everyone};
use crate::domain::Sighting;

/// How long a look may take, and how long it is looked again.
const DEADLINE: Duration = Duration::from_secs(1);
/// How many looks may hang.
const HUNG: usize = 2;

/// How soon, and how often, it is looked again while there is a process of which nobody can tell whose it is: most of
/// them are ending.
const LOOK_AGAIN: (Duration, usize) = (Duration::from_millis(50), 5);

/// How soon a look may follow another: however many ask, looking costs a part of one core.
const PAUSE: Duration = Duration::from_millis(25);

/// When a look began, and what it saw; nothing where nobody could look.
type Looked = (Instant, Option<Arc<Everyone>>);

/// The last look.
#[derive(Debug)]
pub(super) struct Scan {
    everyone: fn() -> io::Result<Everyone>,
    last: Mutex<Option<Looked>>,
    threads: Arc<Semaphore>,
    /// The process that the log was told of last.
    told: AtomicI32,
}

/// A process of which nobody can tell whose it is.
fn nameless((_, seen): &Looked) -> Option<i32> {
    seen.as_ref().and_then(|everyone| everyone.nameless)
}

fn sighting(everyone: &Everyone, uuid: Uuid) -> Sighting {
    let mut found = everyone.domains.get(&uuid).into_iter().flatten();
    match found.find(|instance| !instance.process.is_gone()) {
        Some(instance) => Sighting::Runs(instance.clone()),
        None if everyone.nameless.is_some() => Sighting::Unsure,
        None => Sighting::Absent,
    }
}

impl Default for Scan {
    fn default() -> Self {
        Self::by(process::everyone)
    }
}

impl Scan {
    fn by(everyone: fn() -> io::Result<Everyone>) -> Self {
        let (threads, told) = (Arc::new(Semaphore::new(HUNG)), AtomicI32::new(0));
        Self { everyone, last: Mutex::default(), threads, told }
    }

    pub(super) async fn process_of(&self, uuid: Uuid, age: Duration) -> Sighting {
        self.seen(age).await.map_or(Sighting::Unsure, |everyone| sighting(&everyone, uuid))
    }

    /// The same by the last look, if that is good for it.
    pub(super) fn process_seen(&self, uuid: Uuid, age: Duration) -> Option<Sighting> {
        let last = self.last.try_lock().ok()?;
        let (begun, Some(everyone)) = last.as_ref()? else { return None };
        (begun.elapsed() < age).then(|| sighting(everyone, uuid))
    }

    /// The domains that have a process, as far as anybody could look.
    pub(super) async fn domains(&self) -> Vec<Uuid> {
        let everyone = self.seen(Duration::ZERO).await;
        everyone.map(|everyone| everyone.domains.keys().copied().collect()).unwrap_or_default()
    }

    async fn seen(&self, age: Duration) -> Option<Arc<Everyone>> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        let pause = last.as_ref().map(|(begun, _)| *begun + PAUSE);
        // Who waited for a look that began after it asked has its answer, also that nobody could look.
        let fresh = last
            .take()
            .filter(|(begun, seen)| *begun >= asked || seen.is_some() && asked.duration_since(*begun) < age);
        let looked = match fresh {
            Some(fresh) => fresh,
            None => {
                sleep_until(pause.unwrap_or(asked)).await;
                self.look().await
            }
        };
        last.insert(looked).1.clone()
    }

    async fn look(&self) -> Looked {
        let until = Instant::now() + DEADLINE;
        let mut looked = self.look_once().await;
        for _ in 0..LOOK_AGAIN.1 {
            if nameless(&looked).is_none() || Instant::now() > until {
                break;
            }
            sleep(LOOK_AGAIN.0).await;
            looked = self.look_once().await;
        }
        if let Some(pid) = nameless(&looked).filter(|pid| self.told.swap(*pid, Ordering::Relaxed) != *pid) {
            tracing::warn!(
                pid,
                "nobody can tell whose QEMU this is, so no domain is known to be off: end it if it belongs to none"
            );
        }
        looked
    }

    async fn look_once(&self) -> Looked {
        let begun = Instant::now();
        let Ok(permit) = self.threads.clone().try_acquire_owned() else { return (begun, None) };
        let everyone = self.everyone;
        let look = spawn_blocking(move || {
            let _permit = permit; // kept as long as the look hangs
            everyone()
        });
        let seen = timeout(DEADLINE, look).await.ok().and_then(Result::ok).and_then(Result::ok);
        (begun, seen.map(Arc::new))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use futures_util::future::join_all;

    use super::*;

    /// A process that keeps whoever reads it waiting for longer than a look may take, and then lets go.
    fn slowly() -> io::Result<Everyone> {
        std::thread::sleep(DEADLINE + Duration::from_millis(200));
        Ok(Everyone::default())
    }

    #[tokio::test]
    async fn who_waits_for_a_look_that_comes_to_nothing_does_not_look_once_more_for_each_that_waits() {
        let (scan, begun) = (Scan::by(slowly), Instant::now());

        let seen = join_all((0..10).map(|_| scan.process_of(Uuid::nil(), Duration::ZERO))).await;

        assert!(seen.iter().all(|sighting| *sighting == Sighting::Unsure), "{seen:?}");
        assert!(begun.elapsed() < 3 * DEADLINE, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_look_that_came_to_nothing_is_no_answer_to_who_asks_later() {
        static IS_OVER: AtomicBool = AtomicBool::new(false);
        let fails_once = || match IS_OVER.swap(true, Ordering::Relaxed) {
            false => Err(io::ErrorKind::TimedOut.into()),
            true => Ok(Everyone::default()),
        };
        let scan = Scan::by(fails_once);

        let long = Duration::from_secs(10);
        assert_eq!(scan.process_of(Uuid::nil(), Duration::ZERO).await, Sighting::Unsure);
        assert_eq!(scan.process_seen(Uuid::nil(), long), None);
        assert_eq!(scan.process_of(Uuid::nil(), long).await, Sighting::Absent);
        assert_eq!(scan.process_seen(Uuid::nil(), long), Some(Sighting::Absent));
        assert_eq!(scan.process_seen(Uuid::nil(), Duration::ZERO), None);
    }
}
