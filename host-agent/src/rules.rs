//! Keeps the policy true to its files.
//!
//! In:  `policy.d`, watched by inotify, and SIGHUP. Out: the rules that hold.
//!
//! Invariant: all or nothing: while a file is broken or empty, or the directory of rules that hold is gone, a reload changes
//! nothing and the rules from before hold.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
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
        watch = pointed(watch, dir.clone()).await;
        tokio::select! {
            () = watch.changed(Instant::now() + LOOK_ANYWAY) => {}
            Some(()) = asked.recv() => {}
        }
        sleep(SETTLE).await;
        let (before, place) = (rules.borrow().clone(), dir.clone());
        let loading = spawn_blocking(move || before.load_after(&place));
        let Ok(loaded) = loading.await else { continue }; // it panicked, which is told; the rules from before hold
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

/// Watches what is there now. The disk may hang, which is to hold up nobody.
async fn pointed(mut watch: Watch, dir: PathBuf) -> Watch {
    let pointing = spawn_blocking(move || {
        // A directory that is not there yet is heard of through the one around it.
        if let Err(error) = watch.point_at(&dir) {
            tracing::debug!(%error, "the policy directory cannot be watched yet");
        }
        watch
    });
    pointing.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::task::JoinSet;

    use super::*;

    const RULES: &str = "[[allow]]\nfrom = ['a']\nto = ['b']\n";

    /// A followed policy directory.
    struct Scene {
        around: tempfile::TempDir,
        rules: watch::Receiver<Arc<Policy>>,
        problems: Problems,
        asks: mpsc::Sender<()>,
        _tasks: JoinSet<()>,
    }

    impl Scene {
        /// Whose only file has this text.
        fn with(text: &str) -> Self {
            let around = tempfile::tempdir().unwrap();
            let dir = around.path().join("policy.d");
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("10.toml"), text).unwrap();
            let (policy, problems) = first(&dir);
            let (sender, rules) = watch::channel(Arc::new(policy));
            let (asks, asked) = mpsc::channel(1);
            let mut tasks = JoinSet::new();
            tasks.spawn(follow(dir, sender, problems.clone(), asked));
            Self { around, rules, problems, asks, _tasks: tasks }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.around.path().join(name)
        }

        /// Whether it has rules after another reload, and what is wrong.
        async fn reloads(&self) -> (bool, Vec<String>) {
            self.asks.send(()).await.unwrap();
            sleep(SETTLE * 2).await;
            let problems = self.problems.now().into_iter().map(|problem| problem.text).collect();
            (!self.rules.borrow().is_empty(), problems)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_just_being_written_anew_drops_no_rules_and_one_that_is_deleted_drops_its_own() {
        let scene = Scene::with(RULES);
        let file = scene.path("policy.d/10.toml");

        fs::write(&file, "\n").unwrap();
        let (holds, problems) = scene.reloads().await;
        assert!(holds && problems[0].contains("delete it to drop its rules"), "{problems:?}");
        fs::write(&file, "# none\n").unwrap();
        assert_eq!(scene.reloads().await, (false, vec![]), "comments are a deliberate end");
        fs::write(&file, RULES).unwrap();
        assert_eq!(scene.reloads().await, (true, vec![]));
        fs::remove_file(&file).unwrap();

        assert_eq!(scene.reloads().await, (false, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_vanished_drops_no_rules_and_one_that_is_empty_does() {
        let scene = Scene::with(RULES);
        let (dir, away) = (scene.path("policy.d"), scene.path("away"));

        fs::rename(&dir, &away).unwrap();
        let (holds, problems) = scene.reloads().await;
        assert!(holds && problems[0].contains("it is gone"), "{problems:?}");
        fs::rename(&away, &dir).unwrap();
        assert_eq!(scene.reloads().await, (true, vec![]));
        fs::remove_file(dir.join("10.toml")).unwrap();
        assert_eq!(scene.reloads().await, (false, vec![]));
        fs::remove_dir(&dir).unwrap();

        assert_eq!(scene.reloads().await, (false, vec![]), "nothing came from it");
    }
}
