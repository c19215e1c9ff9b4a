//! Reads a file of the administrator's.
//!
//! In:  its path. Out: what is in it.
//!
//! Invariant: a regular file and nothing else, bounded, on a thread of its own: a file system that does not answer holds up
//! its own attribute alone. No link in the file's place leads to another file, which only root may read.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::libc;

use super::program::OUTPUT_BYTES;

/// Why a file told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is a link: set `file` to what it leads to")]
    Link,
    #[error("is not a regular file")]
    NotAFile,
    #[error("has more than one name (hard links): have it written to a file that has only one")]
    Names,
    #[error("has more than {OUTPUT_BYTES} bytes")]
    TooLong,
    // Not the age: the same trouble has the same words at every look, and is logged once.
    #[error("was written more than {} s ago, which is too old", .0.as_secs())]
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
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let open = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let is_link = |error: &io::Error| error.raw_os_error() == Some(libc::ELOOP);
    let file = open.map_err(|error| if is_link(&error) { FileError::Link } else { error.into() })?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(FileError::NotAFile);
    }
    if facts.nlink() > 1 {
        return Err(FileError::Names);
    }
    // A time in the future is the clock's fault, not the file's.
    let age = SystemTime::now().duration_since(facts.modified()?).unwrap_or_default();
    if let Some(valid) = valid.filter(|valid| age > *valid) {
        return Err(FileError::Old(valid));
    }
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > OUTPUT_BYTES {
        return Err(FileError::TooLong);
    }
    String::from_utf8(bytes).map_err(|_| FileError::NotText)
}
