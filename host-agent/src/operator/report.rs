//! How a command tells what it found: a table for people or one JSON object for programs.
//!
//! In:  a [`Report`]. Out: text on the given writer, and the exit code.
//!
//! Invariant: both forms come from one value, so they cannot disagree.

use std::io::{self, Write};

use serde::Serialize;

/// What a command found or did.
pub trait Report: Serialize {
    /// Writes it for people.
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;

    /// 0 when all is well, 1 when something is not.
    fn exit_code(&self) -> u8 {
        0
    }
}

/// Writes a report in the form that was asked for; the exit code is the report's.
pub fn tell(report: &impl Report, json: bool, out: &mut dyn Write) -> io::Result<u8> {
    if json {
        serde_json::to_writer(&mut *out, report)?;
        writeln!(out)?;
    } else {
        report.write(out)?;
    }
    out.flush()?;
    Ok(report.exit_code())
}
