//! What the broker tells, on standard error, which is the journal.
//!
//! In:  what happened. Out: lines.
//!
//! Invariant: what programs can bring about is told at most [`LINES`] times, whatever they do.

use std::fmt::Arguments;
use std::io::Write;

use tokio::time::Instant;

use super::bucket::Bucket;

/// Lines in a second, and at once, that programs can bring about.
const LINES: (u32, u32) = (1, 20);

/// Tells.
#[derive(Debug)]
pub(super) struct Log {
    bucket: Bucket,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { bucket: Bucket::new(LINES, Instant::now()) }
    }

    pub(super) fn say(&self, what: Arguments<'_>) {
        // A closed standard error is no reason to stop.
        std::io::stderr().write_all(format!("fence_vmchannel broker: {what}\n").as_bytes()).ok();
    }

    /// Something that programs can bring about.
    pub(super) fn say_at_most(&mut self, what: Arguments<'_>) {
        let now = Instant::now();
        if self.bucket.ready_at(0) <= now {
            self.bucket.take(now);
            self.say(what);
        }
    }
}
