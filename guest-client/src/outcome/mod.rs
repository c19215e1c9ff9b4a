//! What the caller gets: an exit code and words.
//!
//! In:  the host's answer, or why there is none. Out: [`Outcome`].
//!
//! Invariant: exit code 0 or 2 has an answer of the host behind it that says so; everything else is 1, or 3 where those
//! whose words are printed say so.

mod compat;
mod host_status;
mod judge;
mod reason;
mod record;

use std::io::{self, Write};
use std::process::ExitCode;

use fence_vmchannel_protocol::{HostStatus, Item, Verdict};

use crate::options::{Options, Personality};

pub(crate) use judge::{judge, list_line, printable, whom};

/// The exit codes of a fence agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done; for `status`: the target is on.
    Success = 0,
    /// Anything that is not known to be done.
    Failure = 1,
    /// For `status`: the target is off.
    Off = 2,
    /// The host refuses it; only for those who know this code from fence_virt and fence_xvm, else it is a failure.
    Denied = 3,
}

/// The end of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code.
    pub exit: Exit,
    /// The lines for standard output.
    pub told: Vec<String>,
    /// The lines for standard error.
    pub complaints: Vec<String>,
}

/// What was found, before it becomes words on one of the two outputs.
#[derive(Debug)]
pub(crate) struct Finding {
    exit: Exit,
    told: Vec<String>,
    complaints: Vec<String>,
    verdict: Option<Verdict>,
    items: Vec<Item>,
    host_status: Option<HostStatus>,
}

impl Finding {
    pub(crate) fn success(told: Vec<String>) -> Self {
        Self {
            exit: Exit::Success,
            told,
            complaints: Vec::new(),
            verdict: None,
            items: Vec::new(),
            host_status: None,
        }
    }

    pub(crate) fn failure(complaint: String) -> Self {
        Self { exit: Exit::Failure, complaints: vec![complaint], ..Self::success(Vec::new()) }
    }

    /// A list, with the lines that tell it.
    pub(crate) fn list(items: Vec<Item>, told: Vec<String>) -> Self {
        Self { items, ..Self::success(told) }
    }

    /// The answer to `status` of a target that is off.
    pub(crate) fn off(told: String) -> Self {
        Self { exit: Exit::Off, ..Self::success(vec![told]) }
    }

    /// The host said that this guest may not.
    pub(crate) fn denied(complaint: String) -> Self {
        Self { exit: Exit::Denied, ..Self::failure(complaint) }
    }

    /// One more line for standard error, as what to do next.
    pub(crate) fn and(mut self, complaint: Option<String>) -> Self {
        self.complaints.extend(complaint);
        self
    }
}

impl Outcome {
    /// Success, with its lines.
    #[must_use]
    pub fn success(told: Vec<String>) -> Self {
        Self { exit: Exit::Success, told, complaints: Vec::new() }
    }

    /// Failure, with the whole chain of its causes.
    pub fn failure(error: &dyn std::error::Error) -> Self {
        Self { exit: Exit::Failure, told: Vec::new(), complaints: vec![chain(error)] }
    }

    pub(crate) fn of(mut finding: Finding, options: &Options) -> Self {
        if options.personality != Personality::Vmchannel {
            let told = compat::words(&finding, options.action);
            return Self { exit: finding.exit, told, complaints: finding.complaints };
        }
        if finding.exit == Exit::Denied {
            finding.exit = Exit::Failure;
        }
        let told = if options.json { vec![record::line(&finding, options)] } else { finding.told };
        Self { exit: finding.exit, told, complaints: finding.complaints }
    }

    /// Prints it. Words that cannot be written make it a failure: somebody waits for them.
    #[must_use]
    pub fn print(&self) -> ExitCode {
        let write = || -> io::Result<()> {
            let mut out = io::stdout().lock();
            self.told.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            out.flush()
        };
        let written = write();
        let mut err = io::stderr().lock();
        for line in &self.complaints {
            // There is nobody left to tell that standard error is closed.
            let _written = err.write_all(format!("fence_vmchannel: {line}\n").as_bytes());
        }
        ExitCode::from(if written.is_ok() { self.exit as u8 } else { Exit::Failure as u8 })
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
