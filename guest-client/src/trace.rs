//! What `--verbose` tells: one line per step on standard error, with the milliseconds since the start.
//!
//! In:  steps. Out: text for people.
//!
//! Invariant: nothing here changes what is done.

use std::fmt::Arguments;
use std::io::Write;
use std::time::Instant;

/// Tells steps, or is silent.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    started: Option<Instant>,
}

impl Trace {
    /// Tells each step if `verbose`.
    #[must_use]
    pub fn new(started: Instant, verbose: bool) -> Self {
        Self { started: verbose.then_some(started) }
    }

    /// Tells nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self { started: None }
    }

    /// One step.
    pub fn say(&self, step: Arguments<'_>) {
        if let Some(started) = self.started {
            let ms = started.elapsed().as_secs_f64() * 1e3;
            let line = format!("{ms:9.2} ms  {step}\n");
            // A closed standard error is no reason to stop fencing.
            let _written = std::io::stderr().write_all(line.as_bytes());
        }
    }
}
