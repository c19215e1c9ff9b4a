//! The running libvirt daemons that call hooks.
//!
//! In:  pid files, `/proc`.
//! Out: [`Daemon`]s, and a SIGHUP to one.
//!
//! Invariant: a pid file alone is believed never: the process must bear a daemon's name, and be the same one still
//! (by its start time) when it is signalled.

use std::io::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The daemons that run QEMU's hooks, by the name in `/proc/PID/comm`.
const NAMES: [&str; 2] = ["libvirtd", "virtqemud"];

/// A running daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Daemon {
    pub(super) name: String,
    pub(super) pid: i32,
    /// Its start in clock ticks since boot; with the pid its identity.
    pub(super) ticks: u64,
}

impl Daemon {
    /// The daemons that the pid files name, as far as they run.
    pub(super) fn running(pid_files: &[PathBuf]) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for daemon in pid_files.iter().filter_map(|file| Self::named_by(file)) {
            if !found.contains(&daemon) {
                found.push(daemon);
            }
        }
        found
    }

    fn named_by(pid_file: &Path) -> Option<Self> {
        Self::with_pid(std::fs::read_to_string(pid_file).ok()?.trim().parse().ok().filter(|pid| *pid > 1)?)
    }

    fn with_pid(pid: i32) -> Option<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let name = read("comm")?.trim_end().to_owned();
        let ticks = start_ticks(&read("stat")?)?;
        NAMES.contains(&name.as_str()).then_some(Self { name, pid, ticks })
    }

    /// When it was started, by today's clock.
    pub(super) fn started(&self) -> Option<SystemTime> {
        let up = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
        let per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
        let milliseconds = self.ticks.checked_mul(1000)?.checked_div(u64::try_from(per_second).ok()?)?;
        SystemTime::now().checked_sub(up.saturating_sub(Duration::from_millis(milliseconds)))
    }

    /// Makes it look for hooks again (and read its configuration; running VMs are not touched).
    pub(super) fn reload(&self) -> Result<(), Error> {
        match Self::with_pid(self.pid) {
            Some(same) if same == *self => kill(Pid::from_raw(self.pid), Signal::SIGHUP).map_err(Error::from),
            Some(_) | None => Ok(()), // gone; the next one finds the hook at its start
        }
    }
}

/// Field 22 of `/proc/PID/stat` (proc(5)); the name in field 2 may hold anything, also spaces and brackets.
fn start_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Daemon, start_ticks};
    use std::time::SystemTime;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a ) b 1 2) S 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";

        assert_eq!(start_ticks(stat), Some(4711));
        assert_eq!(start_ticks("7 (x) S 1"), None);
        assert_eq!(start_ticks(""), None);
    }

    #[test]
    fn a_process_of_another_name_is_no_daemon() {
        let file = tempfile::NamedTempFile::new().unwrap();

        for text in [std::process::id().to_string(), "1".into(), "-1".into(), "0".into(), "x".into()] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(Daemon::running(&[file.path().into(), "/no/such/file".into()]), []);
        }
    }

    #[test]
    fn the_start_of_this_process_was_not_long_ago() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let itself = Daemon { name: String::new(), pid: 0, ticks: start_ticks(&stat).unwrap() };

        let age = SystemTime::now().duration_since(itself.started().unwrap()).unwrap();

        assert!(age.as_secs() < 600, "{age:?}");
    }
}
