//! What `convert-config` prints.
//!
//! In:  findings, files and commands. Out: text or JSON.
//!
//! Invariant: exit code 0 only if the files were written or shown; 1 while a choice is missing.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::files::NewFile;
use super::finding::{Finding, Kind};
use crate::operator::report::Report;
use crate::operator::table::plain;

/// What became of the old configuration.
#[derive(Debug, Serialize)]
pub struct ConvertReport {
    pub(super) findings: Vec<Finding>,
    /// Empty while a choice is missing.
    pub(super) files: Vec<NewFile>,
    /// Where the files were written; absent where they are only shown.
    pub(super) written_to: Option<PathBuf>,
    /// What is still to be done on the host.
    pub(super) commands: Vec<String>,
    /// What is still to be done in the guests' cluster.
    pub(super) guest_commands: Vec<String>,
    /// Why the machines of this host are not known, if they are not.
    pub(super) without_libvirt: Option<String>,
}

impl ConvertReport {
    fn lacks_a_choice(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind == Kind::Choose)
    }

    fn lines(&self, out: &mut dyn Write) -> io::Result<()> {
        for Finding { place, kind, text } in &self.findings {
            writeln!(out, "{}: {}: {}", plain(&place.to_string()), kind.words(), plain(text))?;
        }
        self.without_libvirt.iter().try_for_each(|why| {
            writeln!(
                out,
                "notice: the machines of this host are not known, so names were not looked up, and cluster labels below end with a \
                 number, since other domains may have the plain ones (`fence-vmchanneld channel show` tells): {}",
                plain(why)
            )
        })
    }
}

impl Report for ConvertReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.lines(out)?;
        if self.lacks_a_choice() {
            return writeln!(out, "\nnothing was written: choose, and run it again");
        }
        for file in &self.files {
            match &self.written_to {
                Some(directory) => writeln!(out, "\nwritten: {}", directory.join(&file.path).display())?,
                None => write!(out, "\n==> {} <==\n{}", file.path.display(), file.text)?,
            }
        }
        let sections =
            [("On the host:", &self.commands), ("In one node of the guests' cluster:", &self.guest_commands)];
        for (heading, commands) in sections.iter().filter(|(_, commands)| !commands.is_empty()) {
            writeln!(out, "\n{heading}")?;
            commands.iter().try_for_each(|command| writeln!(out, "  {}", plain(command)))?;
        }
        writeln!(out, "\nHow to go on, and the way back: docs/migration.md")
    }

    fn exit_code(&self) -> u8 {
        u8::from(self.lacks_a_choice())
    }
}
