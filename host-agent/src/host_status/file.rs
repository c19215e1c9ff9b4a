//! Reads a file of the administrator's.
//!
//! In:  its path. Out: what is in it.
//!
//! Invariant: a regular file and nothing else, bounded, on a thread of its own: a file system that does not answer holds up
//! its own attribute alone.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::libc;

use super::program::OUTPUT_BYTES;

/// Why a file told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is not a regular file")]
    NotAFile,
    #[error("has more than {OUTPUT_BYTES} bytes")]
    TooLong,
    #[error("was last written {} s ago, which is too old", .0.as_secs())]
    Old(Duration),
    #[error("is not UTF-8")]
    NotText,
}

/// The text of this file, if it was written within `valid`.
pub(super) async fn content(path: PathBuf, valid: Option<Duration>) -> Result<String, FileError> {
    let read = tokio::task::spawn_blocking(move || read(&path, valid)).await;
    read.unwrap_or_else(|error| Err(FileError::Unreadable(io::Error::other(error))))
}

fn read(path: &Path, valid: Option<Duration>) -> Result<String, FileError> {
    // A FIFO must not hold us up until its other end is opened.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(FileError::NotAFile);
    }
    // A time in the future is the clock's fault, not the file's.
    let age = SystemTime::now().duration_since(facts.modified()?).unwrap_or_default();
    if valid.is_some_and(|valid| age > valid) {
        return Err(FileError::Old(age));
    }
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > OUTPUT_BYTES {
        return Err(FileError::TooLong);
    }
    String::from_utf8(bytes).map_err(|_| FileError::NotText)
}
