//! Keeps one connection to libvirt: opens it, listens to its events, notices when it hangs, opens it anew.
//!
//! In:  libvirt's events, the connection's end, answers to pings. Out: [`Change`]s, and whether libvirt answers.
//!
//! Invariant: every connection begins with [`Change::Everything`] and ends with [`Change::Lost`], so no event that was
//! missed in between matters. No wait is without an end, and few threads can hang.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::changes::Changes;
use super::ffi::Listener;
use super::link::Link;
use super::pool::{Pool, Threads};
use crate::hypervisor::{CallError, Change};

/// The wait after a failed open doubles from the first to the last: a local socket is cheap to ask.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_millis(500);
/// A stopped libvirtd accepts connections and then says nothing. The deadline doubles from the first to the last: one that is only
/// slow is connected to in the end.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
const LAST_OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// How many such opens may hang at the same time.
const HUNG_OPENS: usize = 3;
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Keepalive ends a dead connection after 30 s; this is for drivers that have none.
const PING_PATIENCE: Duration = Duration::from_secs(40);
/// An answer that is older says nothing of now.
const FRESH: Duration = Duration::from_secs(20);
const HUNG_PINGS: usize = 4;

pub(super) struct Keeper {
    uri: String,
    changes: Arc<Changes>,
    answered: Mutex<Option<Instant>>,
    opens: Threads,
    pings: Threads,
}

/// What one connection tells.
struct Watch {
    changes: Arc<Changes>,
    ended: Notify,
}

impl Listener for Watch {
    fn domain_changed(&self, change: Change) {
        self.changes.push(change);
    }

    fn closed(&self) {
        self.ended.notify_one();
    }
}

impl Keeper {
    pub(super) fn new(uri: String) -> Self {
        Self {
            uri,
            changes: Arc::default(),
            answered: Mutex::default(),
            opens: Threads::new(HUNG_OPENS),
            pings: Threads::new(HUNG_PINGS),
        }
    }

    pub(super) async fn changed(&self) -> Change {
        self.changes.next().await
    }

    /// Whether the connection stands and libvirt answered on it not long ago.
    pub(super) fn is_connected(&self) -> bool {
        self.answered().is_some_and(|answered| answered.elapsed() < FRESH)
    }

    fn answered(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the connection, for ever. The pool of an in-process driver is lent it.
    pub(super) async fn run(&self, pool: &Pool) {
        let mut backoff = FIRST_BACKOFF;
        let mut is_first_failure = true;
        let mut patience = OPEN_DEADLINE;
        loop {
            let opened = self.open(patience).await;
            patience = match &opened {
                Err(CallError::Deadline(_)) => (patience * 2).min(LAST_OPEN_DEADLINE),
                Ok(_) | Err(_) => OPEN_DEADLINE,
            };
            match opened {
                Ok((link, watch)) => {
                    self.serve(&link, &watch, pool).await;
                    (backoff, is_first_failure) = (FIRST_BACKOFF, true);
                }
                Err(error) if is_first_failure => {
                    tracing::warn!(uri = self.uri, %error, "no connection to libvirt: trying until there is one");
                    is_first_failure = false;
                }
                Err(error) => tracing::debug!(%error, "still no connection to libvirt"),
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }

    async fn open(&self, patience: Duration) -> Result<(Arc<Link>, Arc<Watch>), CallError> {
        let watch = Arc::new(Watch { changes: self.changes.clone(), ended: Notify::new() });
        let (uri, listener) = (self.uri.clone(), watch.clone() as Arc<dyn Listener>);
        let opening = self.opens.run(move || Link::open_listening(&uri, &listener).map(Arc::new));
        let link =
            tokio::time::timeout(patience, opening).await.map_err(|_| CallError::Deadline(patience))?;
        Ok((link??, watch))
    }

    async fn serve(&self, link: &Arc<Link>, watch: &Watch, pool: &Pool) {
        tracing::info!(uri = self.uri, "connected to libvirt");
        *self.answered() = Some(Instant::now());
        pool.lend(Some(link));
        self.changes.push(Change::Everything);

        self.until_lost(link, watch).await;

        tracing::warn!(
            uri = self.uri,
            "the connection to libvirt is lost: guests are served on, fencing goes by pidfd"
        );
        pool.lend(None);
        *self.answered() = None;
        self.changes.push(Change::Lost);
    }

    async fn until_lost(&self, link: &Arc<Link>, watch: &Watch) {
        let mut stands = true;
        while stands {
            stands = tokio::select! {
                () = watch.ended.notified() => false,
                answered = self.ping(link) => answered,
            };
        }
    }

    async fn ping(&self, link: &Arc<Link>) -> bool {
        tokio::time::sleep(PING_INTERVAL).await;
        let link = link.clone();
        let asking = self.pings.run(move || link.connect().get_lib_version().is_ok());
        let answered = matches!(tokio::time::timeout(PING_PATIENCE, asking).await, Ok(Ok(true)));
        if answered {
            *self.answered() = Some(Instant::now());
        }
        answered
    }
}
