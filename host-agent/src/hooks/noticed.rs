//! Whether a libvirt daemon calls the hook.
//!
//! In:  the daemon's start, the ages of the hook files, two stamps in the runtime directory.
//! Out: yes or no.
//!
//! Invariant: in doubt no: then the operator is told to reload, which does no harm.
//!
//! libvirt looks for hooks when it starts and at SIGHUP only; where it found any for QEMU, it reads the
//! directory again at each call (`virHookInitialize` in libvirt's src/util/virhook.c).

use std::io::Result;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::daemon::Daemon;
use super::place;

/// Touched by the hook at each call.
const CALLED: &str = "hook-called";

/// The daemons that are known to have noticed, a line `PID TICKS` for each.
const TOLD: &str = "hook-told";

/// The kernel counts a process's start in ticks of 10 ms and a file's age by a clock that is up to 10 ms late.
const DOUBT: Duration = Duration::from_millis(50);

/// When the hook was last called.
pub(super) fn last_call(runtime_dir: &Path) -> Option<SystemTime> {
    runtime_dir.join(CALLED).metadata().and_then(|found| found.modified()).ok()
}

/// Whether `daemon` calls the hooks in `hooks_dir`.
pub(super) fn by(daemon: &Daemon, hooks_dir: &Path, runtime_dir: &Path) -> bool {
    let told = std::fs::read_to_string(runtime_dir.join(TOLD)).unwrap_or_default();
    let Some(started) = daemon.started() else { return false };
    told.lines().any(|line| line == told_line(daemon))
        || last_call(runtime_dir).is_some_and(|called| called > started)
        || hooks(hooks_dir)
            .iter()
            .filter_map(|hook| placed(hook))
            .any(|placed| started.duration_since(placed).is_ok_and(|before| before > DOUBT))
}

/// Remembers that these daemons, and no others, have noticed.
pub(super) fn remember(daemons: &[Daemon], runtime_dir: &Path) -> Result<()> {
    place::make_one(runtime_dir, 0o711)?;
    let lines: String = daemons.iter().map(|daemon| told_line(daemon) + "\n").collect();
    std::fs::write(runtime_dir.join(TOLD), lines)
}

/// Forgets calls and daemons, since the hook is removed.
pub(super) fn forget(runtime_dir: &Path) {
    for stamp in [CALLED, TOLD] {
        let _ = std::fs::remove_file(runtime_dir.join(stamp)); // mostly it was not there
    }
}

fn told_line(daemon: &Daemon) -> String {
    format!("{} {}", daemon.pid, daemon.ticks)
}

/// All programs that libvirt would take for a QEMU hook.
fn hooks(hooks_dir: &Path) -> Vec<PathBuf> {
    let directory = hooks_dir.join("qemu.d").read_dir().into_iter().flatten();
    let mut hooks: Vec<_> = directory.filter_map(|entry| Some(entry.ok()?.path())).collect();
    hooks.push(hooks_dir.join("qemu"));
    hooks
}

/// Since when an executable file is there. Its change time: unlike the others nobody can set it.
fn placed(hook: &Path) -> Option<SystemTime> {
    let found =
        hook.metadata().ok().filter(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)?;
    let (seconds, nanoseconds) =
        (u64::try_from(found.ctime()).ok()?, u32::try_from(found.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}
