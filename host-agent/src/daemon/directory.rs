//! The directories that the agent makes and uses, and its lock there.
//!
//! In:  their paths. Out: directories; a lock that one agent holds.
//!
//! Invariant: a directory that somebody else owns or may write to is never used, and no link is followed but in the path to it.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::fcntl::{Flock, FlockArg};

use super::DaemonError;
use crate::hooks::place;

/// QEMU must reach its socket, but nobody may list the names.
const PASSABLE: u32 = 0o711;

/// Makes a directory when it is missing, and those around it. One that is there must be of the agent's own.
pub(super) fn make(dir: &Path) -> Result<(), DaemonError> {
    let failed = |error| DaemonError::Directory(dir.display().to_string(), error);
    let make = || {
        if let Some(around) = dir.parent() {
            fs::DirBuilder::new().recursive(true).mode(PASSABLE).create(around)?;
        }
        place::make_one(dir, PASSABLE)
    };
    make().map_err(failed)?;
    if !place::is_closed(dir) {
        return Err(DaemonError::NotOurs(dir.display().to_string()));
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(PASSABLE)).map_err(failed)
}

/// The same where there is none; one that is there is what it was at the start.
pub(super) fn make_if_missing(dir: &Path) -> Result<(), DaemonError> {
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(dir),
        _ => Ok(()),
    }
}

/// Held as long as this agent runs, and let go by the kernel however it ends.
pub(super) struct Lock {
    path: PathBuf,
    held: Flock<fs::File>,
}

impl Lock {
    /// The one of this directory, unless another agent holds it.
    pub(super) fn take(runtime_dir: &Path) -> Result<Self, DaemonError> {
        let path = runtime_dir.join("agent.lock");
        let mut open = fs::OpenOptions::new();
        open.create(true).truncate(false).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let file = open.open(&path).map_err(|error| DaemonError::Lock(path.display().to_string(), error))?;
        let busy = |_| DaemonError::AlreadyRunning(runtime_dir.display().to_string());
        Ok(Self { held: Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(busy)?, path })
    }

    /// Whether another agent would meet it. Where its file is gone, the journal most likely is, too, and the directory.
    pub(super) fn is_still_there(&self) -> Result<(), DaemonError> {
        let is_ours = match (self.path.symlink_metadata(), self.held.metadata()) {
            (Ok(found), Ok(held)) => (found.dev(), found.ino()) == (held.dev(), held.ino()),
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => true,
        };
        if is_ours { Ok(()) } else { Err(DaemonError::Removed(self.path.display().to_string())) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::super::run;
    use super::*;
    use crate::config::Config;

    /// What an agent with this runtime directory says and ends by; by itself it would for want of machines.
    fn said(runtime_dir: &str) -> String {
        let settings = format!("runtime-dir = {runtime_dir:?}\n");
        let config = Config::parse(&settings, Path::new("agent.toml")).unwrap();
        run(&config, Some(Path::new("/nonexistent"))).unwrap_err().to_string()
    }

    fn mode(dir: &Path) -> u32 {
        dir.symlink_metadata().unwrap().mode() & 0o7777
    }

    fn set_mode(dir: &Path, mode: u32) {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_missing_is_made_also_where_a_link_leads_to_and_the_agents_own_is_used() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("real")).unwrap();
        symlink(path("real"), path("var")).unwrap();
        let run = path("var/fv");

        make(&run).unwrap();
        make(&run.join("guests")).unwrap();
        set_mode(&run, 0o755);
        make(&run).unwrap();

        assert_eq!([mode(&path("real/fv")), mode(&path("real/fv/guests"))], [0o711; 2]);
        assert!(Lock::take(&run).is_ok());
    }

    #[test]
    fn a_directory_that_is_a_link_is_refused_and_what_it_leads_to_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name).display().to_string();
        for name in ["private", "run"] {
            fs::create_dir(path(name)).unwrap();
            set_mode(Path::new(&path(name)), 0o700);
        }
        for link in ["link", "run/guests"] {
            symlink(path("private"), path(link)).unwrap();
        }

        let told = [path("run"), path("link"), format!("{}/", path("link"))].map(|dir| said(&dir));

        assert!(told[0].contains(&format!("{} is not used", path("run/guests"))), "{}", told[0]);
        assert!(told[1..].iter().all(|text| text.contains(&path("link"))), "{told:?}");
        assert_eq!(mode(Path::new(&path("private"))), 0o700);
        assert!(!Path::new(&path("private/agent.lock")).exists());
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_what_to_do() {
        for wrong in [0o777, 0o1777, 0o775] {
            let place = tempfile::tempdir().unwrap();
            let run = place.path().join("run");
            fs::create_dir(&run).unwrap();
            set_mode(&run, wrong);

            let told = said(&run.display().to_string());

            assert!(told.contains(&format!("{} is not used", run.display())), "{told}");
            assert!(told.contains("set runtime-dir"), "{told}");
            assert_eq!(mode(&run), wrong, "what others put into it is not ours now");
        }
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let run = place.path().join("run");
        fs::create_dir(&run).unwrap();
        set_mode(&run, 0o700);
        if chown(&run, Some(nix::unistd::geteuid().as_raw() + 1), None).is_err() {
            return; // only root can give one away
        }

        let told = said(&run.display().to_string());

        assert!(told.contains(&format!("{} is not used", run.display())), "{told}");
    }

    #[test]
    fn a_lock_that_is_a_link_is_refused_and_nothing_is_made_where_it_leads_to() {
        let place = tempfile::tempdir().unwrap();
        let (lock, elsewhere) = (place.path().join("agent.lock"), place.path().join("elsewhere"));
        symlink(&elsewhere, &lock).unwrap();

        let told = Lock::take(place.path()).err().unwrap().to_string();

        assert!(told.contains(&lock.display().to_string()), "{told}");
        assert!(!elsewhere.exists());
    }
}
