//! Takes the hook's notes out of the spool.
//!
//! In:  `*.note` files in a directory that hook and agent share.
//! Out: each readable note once, in the order of the names, which is the order in which they were written.
//!
//! Invariant: heals by itself. The directory may vanish, move, come again, or lose events: inotify only says
//! when to look, and every [`LOOK_ANYWAY`] the agent looks unasked.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fence_vmchannel_protocol::note::Note;
use tokio::time::Instant;
use tracing::{info, warn};

use super::place::{self, PlaceError};
use super::reading;
use super::watch::Watch;

/// How often to look when nothing was heard.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

/// The notes that wait for the agent.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    watch: Watch,
    look_at: Instant,
    waiting: VecDeque<OsString>,
    /// Files that could not be deleted: read once, never again.
    stuck: BTreeSet<OsString>,
    /// What was last complained about, so that it is said once.
    trouble: Option<String>,
}

impl Spool {
    /// Watches `dir`, making it when it is missing. Never fails: what is wrong is logged and tried again later.
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let mut spool = Self {
            dir: dir.to_owned(),
            watch: Watch::default(),
            look_at: Instant::now(),
            waiting: VecDeque::new(),
            stuck: BTreeSet::new(),
            trouble: None,
        };
        spool.look();
        spool
    }

    /// The next note, which is deleted. Cancel safe: a note is taken and returned without waiting in between.
    pub async fn next(&mut self) -> Note {
        loop {
            while let Some(name) = self.waiting.pop_front() {
                if let Some(note) = self.take(name) {
                    return note;
                }
            }
            self.watch.changed(self.look_at).await;
            self.look();
        }
    }

    /// Looks again, and says once what is wrong.
    fn look(&mut self) {
        self.look_at = Instant::now() + LOOK_ANYWAY;
        let trouble = self.list().err().map(|error| place::with_cause(&error));
        match &trouble {
            Some(text) if self.trouble != trouble => warn!("{text}"),
            None if self.trouble.is_some() => {
                info!(spool = %self.dir.display(), "hook notes are heard again")
            }
            Some(_) | None => {}
        }
        self.trouble = trouble;
    }

    /// Makes the watch and the list of waiting notes true again.
    fn list(&mut self) -> Result<(), PlaceError> {
        self.waiting.clear();
        place::make(&self.dir)?;
        let watched = self.watch.point_at(&self.dir); // before the listing, so that nothing falls between
        place::check(&self.dir)?;
        let names = place::note_names(&self.dir)?;
        self.stuck.retain(|name| names.contains(name));
        self.waiting = names.difference(&self.stuck).cloned().collect();
        watched.map_err(|error| PlaceError::Watch(self.dir.clone(), error))
    }

    fn take(&mut self, name: OsString) -> Option<Note> {
        let path = self.dir.join(&name);
        let note = reading::read(&path);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn!(?name, %error, "a hook note cannot be deleted; it is ignored from now on, delete it by hand");
                self.stuck.insert(name);
            }
            Ok(()) | Err(_) => {
                if let Err(error) = &note {
                    warn!(?name, error = place::with_cause(error), "a hook note was no note and is deleted");
                }
            }
        }
        note.ok()
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
