//! Puts notes into the spool that the agent watches.
//!
//! In:  a [`Note`].
//! Out: `RUNTIME/spool/TIME-PID.note`, whole or not at all; names sort by time.
//!
//! Invariant: the spool never holds more than [`MAX_NOTES`] files, also when no agent ever reads it.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fence_vmchannel_protocol::note::Note;
use nix::time::{ClockId, clock_gettime};

use crate::directories;

/// With so many files waiting nobody reads them, and the agent will look at everything when it comes.
pub const MAX_NOTES: usize = 1024;

/// Writes `note`, making the spool when it is missing.
///
/// # Errors
/// The spool cannot be made or trusted, is full, or the note cannot be written. Nothing is left behind then.
pub fn write(runtime: &Path, note: &Note) -> Result<()> {
    let bytes = note.encode().map_err(Error::other)?;
    let spool = runtime.join("spool");
    directories::make(&spool, directories::PRIVATE)?;
    if std::fs::read_dir(&spool)?.take(MAX_NOTES).count() == MAX_NOTES {
        return Err(Error::from(ErrorKind::StorageFull));
    }
    let name = name()?;
    let unfinished = spool.join(format!(".{name}.tmp"));
    let written = write_new(&unfinished, &bytes)
        .and_then(|()| std::fs::rename(&unfinished, spool.join(format!("{name}.note"))));
    if written.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}

/// Leaves the time of this call in `RUNTIME/hook-called`, so that `hook status` knows that libvirt calls us.
///
/// # Errors
/// The file cannot be made or touched.
pub fn stamp(runtime: &Path) -> Result<()> {
    private_file().create(true).open(runtime.join("hook-called"))?.set_modified(SystemTime::now())
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file: File = private_file().create_new(true).open(path)?;
    file.write_all(bytes)
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Unique, and sorts by time; the clock is one that nobody sets.
fn name() -> Result<String> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    Ok(format!("{:020}-{:010}", now.as_nanos(), std::process::id()))
}
