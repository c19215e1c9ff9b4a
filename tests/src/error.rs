//! What can go wrong in the lab, in words that tell a person what to do.
//!
//! In:  failures of system calls, programs and waits.
//! Out: [`LabError`]; its `Debug` is its text, so that `?` in a test prints a readable line.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

/// What the lab's functions return.
pub type Result<T> = std::result::Result<T, LabError>;

/// Why the lab could not do what it was asked.
#[derive(thiserror::Error)]
pub enum LabError {
    /// A system call failed.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("`{command}` ended with {ending}: {said}")]
    Program {
        /// The command line.
        command: String,
        /// Exit code or signal.
        ending: String,
        /// What it printed.
        said: String,
    },
    /// Something did not happen in time.
    #[error("waited {waited:?} in vain for {awaited}; last seen: {last_seen}")]
    TimedOut {
        /// How long the wait was.
        waited: Duration,
        /// What should have happened.
        awaited: String,
        /// The last that was seen instead.
        last_seen: String,
    },
    /// The other side went away while it was waited for.
    #[error("{who} ended while the lab waited for {awaited}; last seen: {last_seen}")]
    Ended {
        /// Who went away.
        who: String,
        /// What should have happened.
        awaited: String,
        /// The last that was seen of it.
        last_seen: String,
    },
    /// Something the lab needs is not on this machine.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What is not there.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// The supervisor could not do what the lab asked.
    #[error("the lab's supervisor says: {0}")]
    Supervisor(String),
}

impl fmt::Debug for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Says what a system call was for, when it fails.
pub(crate) trait Doing<T> {
    /// Names the attempt: "read /etc/passwd".
    fn doing(self, what: impl Display) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T> {
        self.map_err(|error| LabError::System { doing: what.to_string(), source: error.into() })
    }
}
