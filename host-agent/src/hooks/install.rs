//! Puts the hook into libvirt's hook directory, takes it away, tells how it is.
//!
//! In:  the hook program, libvirt's hook directory, the operator's wish.
//! Out: `qemu.d/50-fence-vmchannel`, and a report that says what to do next.
//!
//! Invariant: libvirt sees the whole program or none. Doing it again changes nothing.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::daemon::Daemon;
use super::ear::Ear;
use super::noticed;

/// The hook's name in `qemu.d`; libvirt calls the programs there in the order of their names.
pub const FILE_NAME: &str = "50-fence-vmchannel";

/// The hook program's name before it is installed.
const PROGRAM: &str = "fence-vmchannel-hook";

/// Where packages put the program.
const PACKAGED: &str = "/usr/libexec/fence-vmchannel/fence-vmchannel-hook";

/// Where libvirt's daemons leave their pids.
const PID_FILES: [&str; 4] =
    ["/run/libvirtd.pid", "/run/libvirt/libvirtd.pid", "/run/virtqemud.pid", "/run/libvirt/virtqemud.pid"];

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// libvirt's hook directory.
    pub hooks_dir: PathBuf,
    /// Where hook and agent meet.
    pub runtime_dir: PathBuf,
    /// The hook program; searched for when not given.
    pub program: Option<PathBuf>,
    /// The pid files of the daemons that call hooks.
    pub pid_files: Vec<PathBuf>,
}

/// How the hook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is not there.
    Missing,
    /// It is not the program that belongs to this agent, or it cannot be executed.
    Outdated,
    /// It is there, but a running daemon does not call it.
    NotNoticed,
    /// It is there and called.
    Installed,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Nothing, all was well already.
    None,
    /// The hook was put there.
    Installed,
    /// Another version was replaced.
    Updated,
    /// The hook was taken away.
    Removed,
}

/// A running libvirt daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DaemonReport {
    /// `libvirtd` or `virtqemud`.
    pub name: String,
    /// Its pid.
    pub pid: i32,
    /// Whether it calls the hook.
    pub noticed: bool,
}

/// How the hook is, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusReport {
    /// In one word.
    pub state: State,
    /// The hook's place.
    pub file: PathBuf,
    /// The program that belongs there; none was found when absent, so nothing was compared.
    pub program: Option<PathBuf>,
    /// The running daemons.
    pub daemons: Vec<DaemonReport>,
    /// How long ago libvirt called the hook, in seconds; absent when never since the machine's start.
    pub last_called_seconds_ago: Option<u64>,
    /// What to do next; absent when nothing.
    pub next: Option<String>,
}

/// What was done, and how the hook is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeReport {
    /// What was done; in a dry run, what would be.
    pub change: Change,
    /// Nothing was touched.
    pub dry_run: bool,
    /// The daemons that were told by SIGHUP; in a dry run, that would be.
    pub reloaded: Vec<i32>,
    /// How the hook is now.
    pub status: StatusReport,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No hook program.
    #[error("no hook program at {}; name it by --program PATH, or install the package", paths(.0))]
    NoProgram(Vec<PathBuf>),
    /// The user may not.
    #[error("not allowed to change {}; run this command as root", .0.display())]
    Denied(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot read or write {}; look at the cause and run the command again", .0.display())]
    File(PathBuf, #[source] Error),
    /// A daemon cannot be told.
    #[error("cannot send SIGHUP to {name} (pid {pid}); run this command as root, or restart {name}")]
    Reload {
        /// The daemon.
        name: String,
        /// Its pid.
        pid: i32,
        /// Why not.
        #[source]
        source: Error,
    },
}

impl Setup {
    /// As on an ordinary host.
    #[must_use]
    pub fn system(runtime_dir: &Path) -> Self {
        Self {
            hooks_dir: "/etc/libvirt/hooks".into(),
            runtime_dir: runtime_dir.to_owned(),
            program: None,
            pid_files: PID_FILES.map(PathBuf::from).to_vec(),
        }
    }

    fn file(&self) -> PathBuf {
        self.hooks_dir.join("qemu.d").join(FILE_NAME)
    }

    /// The program given, or the one next to this program, or the packaged one.
    fn program(&self) -> Result<PathBuf, InstallError> {
        let beside = std::env::current_exe().ok().map(|agent| agent.with_file_name(PROGRAM));
        let candidates: Vec<PathBuf> = match &self.program {
            Some(given) => vec![given.clone()],
            None => beside.into_iter().chain([PACKAGED.into()]).collect(),
        };
        let found = candidates.iter().find(|candidate| candidate.is_file()).cloned();
        found.ok_or(InstallError::NoProgram(candidates))
    }
}

/// Tells how the hook is.
///
/// # Errors
/// The hook or its program cannot be read.
pub fn status(setup: &Setup) -> Result<StatusReport, InstallError> {
    let program = setup.program().ok();
    let daemons: Vec<DaemonReport> = Daemon::running(&setup.pid_files)
        .into_iter()
        .map(|daemon| DaemonReport {
            noticed: noticed::by(&daemon, &setup.hooks_dir, &setup.runtime_dir),
            name: daemon.name,
            pid: daemon.pid,
        })
        .collect();
    let state = match present(&setup.file(), program.as_deref())? {
        Present::No => State::Missing,
        Present::Other => State::Outdated,
        Present::Same if daemons.iter().all(|daemon| daemon.noticed) => State::Installed,
        Present::Same => State::NotNoticed,
    };
    let called = noticed::last_call(&setup.runtime_dir);
    Ok(StatusReport {
        state,
        file: setup.file(),
        program,
        daemons,
        last_called_seconds_ago: called.map(|then| then.elapsed().as_ref().map_or(0, Duration::as_secs)),
        next: next_step(state).map(str::to_owned),
    })
}

/// How long libvirt may take to look for hooks after SIGHUP, and how often it is told.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 10;

/// Puts the hook there or updates it; with `reload`, tells daemons that have not noticed.
///
/// # Errors
/// There is no program, or a file or a daemon cannot be reached.
pub fn install(setup: &Setup, reload: bool, dry_run: bool) -> Result<ChangeReport, InstallError> {
    let program = setup.program()?;
    let file = setup.file();
    let change = match present(&file, Some(&program))? {
        Present::No => Change::Installed,
        Present::Other => Change::Updated,
        Present::Same => Change::None,
    };
    let (mut knowing, unknowing): (Vec<_>, Vec<_>) = Daemon::running(&setup.pid_files)
        .into_iter()
        .partition(|daemon| noticed::by(daemon, &setup.hooks_dir, &setup.runtime_dir));
    let to_tell = if reload { unknowing } else { Vec::new() };
    let reloaded: Vec<i32> = to_tell.iter().map(|daemon| daemon.pid).collect();

    if !dry_run {
        if change != Change::None {
            copy(&program, setup)?;
        }
        for daemon in to_tell {
            if tell(&daemon, &setup.hooks_dir.join("qemu.d"))? {
                knowing.push(daemon); // those before have not forgotten by the update
            }
        }
        noticed::remember(&knowing, &setup.runtime_dir)
            .map_err(|error| failure(&setup.runtime_dir, error))?;
    }
    Ok(ChangeReport { change, dry_run, reloaded, status: status(setup)? })
}

/// Sends SIGHUP until libvirt looks for hooks; whether it did. It ignores the signal while it is just starting, and a VM that
/// is started before it looked would not start.
fn tell(daemon: &Daemon, dir: &Path) -> Result<bool, InstallError> {
    let ear = Ear::at(dir);
    for _ in 0..LOOKS {
        let failed = |source| InstallError::Reload { name: daemon.name.clone(), pid: daemon.pid, source };
        daemon.reload().map_err(failed)?;
        if ear.hears(LOOK) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the hook away.
///
/// # Errors
/// It cannot be deleted.
pub fn remove(setup: &Setup, dry_run: bool) -> Result<ChangeReport, InstallError> {
    let file = setup.file();
    let there = file.symlink_metadata().is_ok();
    if there && !dry_run {
        std::fs::remove_file(&file).map_err(|error| failure(&file, error))?;
        noticed::forget(&setup.runtime_dir);
    }
    let change = if there { Change::Removed } else { Change::None };
    Ok(ChangeReport { change, dry_run, reloaded: Vec::new(), status: status(setup)? })
}

enum Present {
    No,
    Other,
    Same,
}

fn present(file: &Path, program: Option<&Path>) -> Result<Present, InstallError> {
    let found = match file.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Present::No),
        found => found.map_err(|error| failure(file, error))?,
    };
    let read = |path: &Path| std::fs::read(path).map_err(|error| failure(path, error));
    let runs = found.is_file() && found.permissions().mode() & 0o111 != 0;
    let same = runs && program.map_or(Ok(true), |program| Ok(read(program)? == read(file)?))?;
    Ok(if same { Present::Same } else { Present::Other })
}

/// By rename, and not from within `qemu.d`: libvirt would run the unfinished program, whatever its name.
fn copy(program: &Path, setup: &Setup) -> Result<(), InstallError> {
    let directory = setup.hooks_dir.join("qemu.d");
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&directory);
    made.map_err(|error| failure(&directory, error))?;
    let bytes = std::fs::read(program).map_err(|error| failure(program, error))?;
    let unfinished = setup.hooks_dir.join(format!(".{FILE_NAME}.{}.tmp", std::process::id()));
    let written = write(&unfinished, &bytes).and_then(|()| std::fs::rename(&unfinished, setup.file()));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&unfinished); // perhaps it was never made
        failure(&setup.file(), error)
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(0o755))?; // the umask does not matter
    file.sync_all()
}

fn failure(path: &Path, error: Error) -> InstallError {
    if error.kind() == ErrorKind::PermissionDenied {
        InstallError::Denied(path.to_owned())
    } else {
        InstallError::File(path.to_owned(), error)
    }
}

fn next_step(state: State) -> Option<&'static str> {
    match state {
        State::Missing => Some(
            "run `fence-vmchanneld hook install --reload`; without the hook a VM that the agent has not seen yet \
             does not start while the agent is away",
        ),
        State::Outdated => Some("run `fence-vmchanneld hook install` to update it"),
        State::NotNoticed => Some(
            "run `fence-vmchanneld hook install --reload`: libvirt was started before its first hook was there, and \
             looks again only at SIGHUP or its restart; running VMs go on",
        ),
        State::Installed => None,
    }
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;
