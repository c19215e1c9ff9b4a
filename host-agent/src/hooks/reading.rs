//! Reads one note's file.
//!
//! In:  a path in the spool; what is there may be anything.
//! Out: the note, or why it is none.
//!
//! Invariant: never blocks, never reads more than a note may have, follows no link.

use std::fs::OpenOptions;
use std::io::{Error, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use fence_vmchannel_protocol::note::{MAX_NOTE_BYTES, Note, NoteError};
use nix::fcntl::OFlag;

use super::place::is_ours;

/// Why a file is no note.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the file cannot be read")]
    Unreadable(#[from] Error),
    #[error("it is not a plain file of ours with at most {MAX_NOTE_BYTES} bytes")]
    NotPlain,
    #[error(transparent)]
    NoNote(#[from] NoteError),
}

/// The note in the file at `path`.
pub(super) fn read(path: &Path) -> Result<Note, ReadError> {
    let without_waiting = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(without_waiting.bits()).open(path)?;
    let found = file.metadata()?;
    let limit = u64::try_from(MAX_NOTE_BYTES).unwrap_or(u64::MAX);
    if !found.is_file() || !is_ours(found.uid()) || found.len() > limit {
        return Err(ReadError::NotPlain);
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Note::parse(&bytes)?)
}
