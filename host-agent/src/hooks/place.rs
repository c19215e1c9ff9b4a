//! The spool's directory.
//!
//! In:  its path, usually `/run/fence-vmchannel/spool`.
//! Out: a directory that exists and belongs to us, and the names of the notes in it.
//!
//! Invariant: a directory that somebody else owns or may write to is never used: its notes could be anybody's.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{DirBuilder, DirEntry, Permissions};
use std::io::{Error, ErrorKind, Result as IoResult};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A hook writes for milliseconds; an unfinished file this old has lost its writer.
const ABANDONED: Duration = Duration::from_secs(10);

/// Why the spool is not used. The agent goes on without notes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("the spool {} cannot be made; remove what is in its way", .0.display())]
    Make(PathBuf, #[source] Error),
    #[error("the spool {} is not used: it must be a directory that only its owner, root or this agent's user, may write to", .0.display())]
    NotOurs(PathBuf),
    #[error("the spool {} cannot be listed", .0.display())]
    List(PathBuf, #[source] Error),
    #[error("the spool {} cannot be watched, so notes are read every few seconds; raise fs.inotify.max_user_instances or max_user_watches", .0.display())]
    Watch(PathBuf, #[source] Error),
}

/// Makes the spool and the runtime directory around it, when missing.
pub(super) fn make(dir: &Path) -> Result<(), PlaceError> {
    let runtime = dir.parent().unwrap_or(dir);
    make_one(runtime, 0o711)
        .and_then(|()| make_one(dir, 0o700))
        .map_err(|error| PlaceError::Make(dir.into(), error))
}

/// Makes one directory with this mode, when missing.
pub(crate) fn make_one(dir: &Path, mode: u32) -> IoResult<()> {
    match DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => std::fs::set_permissions(dir, Permissions::from_mode(mode)), // the umask may have taken bits
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The spool, and the directory around it, can be changed by their owner only.
pub(super) fn check(dir: &Path) -> Result<(), PlaceError> {
    let around = dir.parent().is_none_or(is_closed);
    if around && is_closed(dir) { Ok(()) } else { Err(PlaceError::NotOurs(dir.into())) }
}

/// It is a directory and no link to one, and only its owner can change it, who is root or this agent's user.
pub(crate) fn is_closed(dir: &Path) -> bool {
    let dir = dir.components().as_path(); // a slash at the end would have a link followed
    dir.symlink_metadata()
        .is_ok_and(|found| found.is_dir() && is_ours(found.uid()) && found.mode() & 0o022 == 0)
}

/// Root's or this agent's user's.
pub(super) fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

/// The names of all finished notes. Deletes unfinished ones whose writer must be dead.
pub(super) fn note_names(dir: &Path) -> Result<BTreeSet<OsString>, PlaceError> {
    let entries = dir.read_dir().map_err(|error| PlaceError::List(dir.into(), error))?;
    let mut names = BTreeSet::new();
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.extension() == Some("note".as_ref()) {
            names.insert(entry.file_name());
        } else if path.extension() == Some("tmp".as_ref()) && is_abandoned(&entry) {
            let _ = std::fs::remove_file(path); // tried again at the next look
        }
    }
    Ok(names)
}

fn is_abandoned(entry: &DirEntry) -> bool {
    let modified = entry.metadata().and_then(|found| found.modified()).ok();
    modified.and_then(|then| then.elapsed().ok()).is_some_and(|age| age > ABANDONED)
}

/// The error with its causes, on one line.
pub(super) fn with_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
