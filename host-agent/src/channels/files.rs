//! The files of sockets, as their directory lists them.
//!
//! In:  the directory, who is known. Out: which files are there.
//!
//! Invariant: removed is only what belongs to nobody and is old; one look for all, since a host may have thousands.

use std::fs::{DirEntry, read_dir, remove_file};
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// A socket without a domain may be that of a VM which is just being started by a hook.
const LEFTOVER: Duration = Duration::from_secs(60);

/// The files that are there, by what tells a file from any other that had its name.
#[derive(Debug)]
pub(super) struct Files(Vec<u64>);

impl Files {
    /// Those in this directory. What belongs to no domain of this host is removed: left by an agent that was killed, or made by a
    /// hook for a domain that never came.
    pub(super) fn swept(dir: &Path, is_known: impl Fn(Uuid) -> bool) -> io::Result<Self> {
        let entries = match read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self(Vec::new())),
            entries => entries?,
        };
        let mut inodes = Vec::new();
        for entry in entries {
            let entry = entry?;
            if uuid_of(&entry).is_some_and(|uuid| !is_known(uuid)) && is_old(&entry) {
                tracing::info!(socket = %entry.path().display(), "removing a socket whose domain is gone");
                let _ = remove_file(entry.path()); // looked at again at the next sweep
            } else {
                inodes.push(entry.ino());
            }
        }
        inodes.sort_unstable();
        Ok(Self(inodes))
    }

    /// Whether this file is there.
    pub(super) fn have(&self, inode: u64) -> bool {
        self.0.binary_search(&inode).is_ok()
    }
}

fn uuid_of(entry: &DirEntry) -> Option<Uuid> {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    name.trim_start_matches('.').get(..36).and_then(|text| Uuid::try_parse(text).ok())
}

fn is_old(entry: &DirEntry) -> bool {
    let changed = entry.metadata().and_then(|found| found.modified()).ok();
    let age = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
    age.is_some_and(|age| age > LEFTOVER)
}
