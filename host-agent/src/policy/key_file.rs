//! A key's file on this host.
//!
//! In:  a path. Out: the [`Key`] in it, or what is wrong with it and how to mend it.
//!
//! Invariant: a file that somebody else could read or replace is refused: whoever knows a key can fence with it.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use fence_vmchannel_protocol::signing::Key;

/// The longest key file that is read: a key and a line ending.
const FILE_BYTES: u64 = 4096 + 2;

/// The key in this file.
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn read(path: &Path) -> Result<Key, String> {
    Key::of_file(&content(path)?).map_err(|error| format!("{error}: write a new one with `channel key add`"))
}

/// What is in a key's file, if nobody else may read or replace it.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>, String> {
    // Without O_NONBLOCK, a pipe in the key's place would hold everything up.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| format!("the key cannot be read: {error}"))?;
    let about = file.metadata().map_err(|error| format!("the key cannot be read: {error}"))?;
    if !about.is_file() {
        return Err("the key is no regular file".into());
    }
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o7777;
        return Err(format!("the key may be used by others than its owner (mode {mode:04o}): chmod 0600"));
    }
    if ![0, nix::unistd::geteuid().as_raw()].contains(&about.uid()) {
        return Err(format!("the key belongs to uid {}: chown it to root", about.uid()));
    }
    let mut content = Vec::new();
    let read = file.take(FILE_BYTES + 1).read_to_end(&mut content);
    read.map_err(|error| format!("the key cannot be read: {error}"))?;
    Ok(content)
}
