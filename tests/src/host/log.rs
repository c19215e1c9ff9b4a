//! What a running program says on stderr, kept for the test.
//!
//! In:  the program's stderr, read by a thread of its own.
//! Out: lines to search and to wait for.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{LabError, Result};

/// A program's log, shared with the thread that fills it.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    shared: Arc<(Mutex<Pages>, Condvar)>,
}

#[derive(Debug, Default)]
struct Pages {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads `source` to its end, in the background; then calls `at_end`.
    pub(super) fn of(source: impl Read + Send + 'static, at_end: impl FnOnce() + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(std::result::Result::ok) {
                writer.pages().lines.push(String::from_utf8_lossy(&line).into_owned());
                writer.shared.1.notify_all();
            }
            writer.pages().ended = true;
            writer.shared.1.notify_all();
            at_end();
        });
        log
    }

    /// All lines so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.pages().lines.clone()
    }

    /// Waits for a line, from the `from`th on, that contains all `parts`.
    pub(super) fn wait_for(&self, from: usize, parts: &[&str], patience: Duration) -> Result<String> {
        let matching = |pages: &Pages| {
            let lines = pages.lines.iter().skip(from);
            let mut matching = lines.filter(|line| parts.iter().all(|part| line.contains(part)));
            matching.next().cloned()
        };
        let missing = |pages: &mut Pages| matching(pages).is_none() && !pages.ended;
        let (pages, _) = self
            .shared
            .1
            .wait_timeout_while(self.pages(), patience, missing)
            .unwrap_or_else(PoisonError::into_inner);
        matching(&pages).ok_or_else(|| LabError::TimedOut {
            waited: patience,
            awaited: format!("a log line with {parts:?}"),
            last_seen: pages.lines.join("\n"),
        })
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
