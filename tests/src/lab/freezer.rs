//! The cgroup v1 freezer: puts a QEMU into state D, where not even SIGKILL ends it until it is thawed.
//!
//! In:  a lab's directory (its name is the prefix of the lab's cgroups), a pid.
//! Out: the process stands still, or runs again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Doing, LabError, Result};

const ROOT: &str = "/sys/fs/cgroup/freezer";

/// Freezes a process of the lab.
pub(crate) fn freeze(directory: &Path, pid: i32) -> Result<()> {
    if !Path::new(ROOT).join("tasks").exists() {
        return Err(LabError::Missing {
            what: format!("the cgroup v1 freezer at {ROOT}"),
            remedy: "mount it: `mount -t cgroup -o freezer none /sys/fs/cgroup/freezer`".into(),
        });
    }
    let group = group(directory, pid);
    fs::create_dir_all(&group).doing(format!("make the cgroup {}", group.display()))?;
    fs::write(group.join("cgroup.procs"), pid.to_string()).doing(format!("move {pid} into it"))?;
    fs::write(group.join("freezer.state"), "FROZEN").doing(format!("freeze {pid}"))
}

/// Lets a frozen process of the lab go on.
pub(crate) fn thaw(directory: &Path, pid: i32) -> Result<()> {
    let state = group(directory, pid).join("freezer.state");
    fs::write(state, "THAWED").doing(format!("thaw {pid}"))
}

/// Thaws whatever the lab froze.
pub(super) fn thaw_all(directory: &Path) {
    for group in groups(directory) {
        fs::write(group.join("freezer.state"), "THAWED").ok();
    }
}

/// Removes the lab's cgroups, which must be empty.
pub(super) fn remove_all(directory: &Path) {
    for group in groups(directory) {
        fs::remove_dir(group).ok();
    }
}

fn group(directory: &Path, pid: i32) -> PathBuf {
    Path::new(ROOT).join(format!("{}-{pid}", prefix(directory)))
}

fn groups(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let prefix = prefix(directory);
    fs::read_dir(ROOT)
        .into_iter()
        .flatten()
        .flatten()
        .filter(move |entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
}

fn prefix(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
