//! Keeps the policy true to its files.
//!
//! In:  `policy.d`, watched by inotify, and SIGHUP. Out: the rules that hold.
//!
//! Invariant: all or nothing: while a file is broken, a reload changes nothing and the rules from before hold.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::hooks::watch::Watch;
use crate::policy::{Policy, Problem};

/// Editors write in several steps; what they do within this time is one change.
const SETTLE: Duration = Duration::from_millis(50);
/// How often to look when nothing was heard.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// The files that are not used, for `guests` and the log.
#[derive(Debug, Clone, Default)]
pub struct Problems(Arc<Mutex<Vec<Problem>>>);

impl Problems {
    /// What is wrong now.
    #[must_use]
    pub fn now(&self) -> Vec<Problem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what is wrong now; `true` if that is new.
    fn set(&self, problems: Vec<Problem>) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = *held != problems;
        *held = problems;
        new
    }
}

/// The rules at the start; a broken file is not used.
#[must_use]
pub fn first(dir: &std::path::Path) -> (Policy, Problems) {
    let loaded = Policy::load(dir);
    loaded.problems.iter().for_each(|problem| tracing::error!("{problem}"));
    let problems = Problems::default();
    problems.set(loaded.problems);
    (loaded.policy, problems)
}

/// Loads the rules anew whenever their directory changes or `asked` says so. Runs until it is dropped.
pub async fn follow(
    dir: PathBuf,
    rules: watch::Sender<Arc<Policy>>,
    problems: Problems,
    mut asked: mpsc::Receiver<()>,
) {
    let mut watch = Watch::default();
    loop {
        // A directory that is not there yet is heard of through the one around it.
        if let Err(error) = watch.point_at(&dir) {
            tracing::debug!(%error, "the policy directory cannot be watched yet");
        }
        tokio::select! {
            () = watch.changed(Instant::now() + LOOK_ANYWAY) => {}
            Some(()) = asked.recv() => {}
        }
        sleep(SETTLE).await;
        let loaded = Policy::load(&dir);
        if problems.set(loaded.problems.clone()) {
            loaded
                .problems
                .iter()
                .for_each(|problem| tracing::error!("{problem}; the rules from before hold"));
        }
        if loaded.problems.is_empty() {
            rules.send_replace(Arc::new(loaded.policy));
        }
    }
}
