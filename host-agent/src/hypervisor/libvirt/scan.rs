//! Looks at all processes of the host, for everybody at once.
//!
//! In:  a UUID and how old a look may be. Out: its process, that there is none, or that nobody could look.
//!
//! Invariant: one look at a time, on a thread that can be left behind; of those there are never more than [`HUNG`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::process::{self, Everyone};
use crate::domain::Sighting;

/// How long a look may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// How many looks may hang.
const HUNG: usize = 2;

/// How soon, and how often, it is looked again while there is a process of which nobody can tell whose it is: most of
/// them are ending.
const LOOK_AGAIN: (Duration, usize) = (Duration::from_millis(50), 5);

/// How soon a look may follow another: however many ask, looking costs a part of one core.
const PAUSE: Duration = Duration::from_millis(25);

type Seen = Arc<Everyone>;

/// The last look.
#[derive(Debug)]
pub(super) struct Scan {
    last: Mutex<Option<(Instant, Seen)>>,
    threads: Arc<Semaphore>,
    /// The process that the log was told of last.
    told: AtomicI32,
}

/// A process of which nobody can tell whose it is.
fn nameless(seen: &Option<(Instant, Seen)>) -> Option<i32> {
    seen.as_ref().and_then(|(_, everyone)| everyone.nameless)
}

impl Default for Scan {
    fn default() -> Self {
        Self { last: Mutex::default(), threads: Arc::new(Semaphore::new(HUNG)), told: AtomicI32::new(0) }
    }
}

impl Scan {
    pub(super) async fn process_of(&self, uuid: Uuid, age: Duration) -> Sighting {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        // Who waited for a look that began after it asked has its answer.
        let pause = last.as_ref().map(|(begun, _)| *begun + PAUSE);
        let fresh = last.take().filter(|(begun, _)| *begun >= asked || begun.elapsed() < age);
        *last = match fresh {
            Some(fresh) => Some(fresh),
            None => {
                sleep_until(pause.unwrap_or(asked)).await;
                self.look().await
            }
        };
        let Some((_, everyone)) = last.as_ref() else { return Sighting::Unsure };
        let mut found = everyone.domains.get(&uuid).into_iter().flatten();
        match found.find(|instance| !instance.process.is_gone()) {
            Some(instance) => Sighting::Runs(instance.clone()),
            None if everyone.nameless.is_some() => Sighting::Unsure,
            None => Sighting::Absent,
        }
    }

    async fn look(&self) -> Option<(Instant, Seen)> {
        let mut seen = self.look_once().await;
        for _ in 0..LOOK_AGAIN.1 {
            if nameless(&seen).is_none() {
                return seen;
            }
            sleep(LOOK_AGAIN.0).await;
            seen = self.look_once().await;
        }
        if let Some(pid) = nameless(&seen).filter(|pid| self.told.swap(*pid, Ordering::Relaxed) != *pid) {
            tracing::warn!(
                pid,
                "nobody can tell whose QEMU this is, so no domain is known to be off: end it if it belongs to none"
            );
        }
        seen
    }

    async fn look_once(&self) -> Option<(Instant, Seen)> {
        let begun = Instant::now();
        let permit = self.threads.clone().try_acquire_owned().ok()?;
        let look = spawn_blocking(move || {
            let _permit = permit; // kept as long as the look hangs
            process::everyone()
        });
        let everyone = timeout(DEADLINE, look).await.ok()?.ok()?.ok()?;
        Some((begun, Arc::new(everyone)))
    }
}
