//! The directories that hook and agent share.
//!
//! In:  a path and a mode.
//! Out: a directory there that only its owner can change.
//!
//! Invariant: a directory that others own or may write to is never used.

use std::fs::{DirBuilder, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// QEMU must reach its socket, but nobody may list the names: mode of the runtime directory and of `guests`.
pub const PASSABLE: u32 = 0o711;

/// Notes hold domain XML: mode of the spool.
pub const PRIVATE: u32 = 0o700;

/// Makes `dir` with `mode` when it is missing; one that exists keeps its mode.
///
/// # Errors
/// It cannot be made, or what is there is not to be trusted.
pub fn make(dir: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => std::fs::set_permissions(dir, Permissions::from_mode(mode)), // the umask may have taken bits
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check(dir),
        Err(error) => Err(error),
    }
}

fn check(dir: &Path) -> Result<()> {
    let found = std::fs::symlink_metadata(dir)?;
    let owner_is_ours = found.uid() == 0 || found.uid() == nix::unistd::geteuid().as_raw();
    if found.is_dir() && owner_is_ours && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(Error::from(ErrorKind::PermissionDenied))
    }
}

#[cfg(test)]
mod tests {
    use super::{PASSABLE, PRIVATE, make};
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_missing_directory_is_made_with_its_mode() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("run");

        make(&dir, PASSABLE).unwrap();
        make(&dir, PRIVATE).unwrap();

        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o7777, PASSABLE);
    }

    #[test]
    fn a_directory_that_others_may_change_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let open = temporary.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let link = temporary.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();

        assert!(make(&open, PRIVATE).is_err());
        assert!(make(&link, PRIVATE).is_err());
    }
}
