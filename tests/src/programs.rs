//! Programs: running them, and finding our own.
//!
//! In:  a command, or the name of a program of this workspace.
//! Out: what it said and how it ended ([`Ran`]), or where it is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::error::{Doing, LabError, Result};

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; 128 + n when signal n ended it.
    pub exit_code: i32,
    /// What it printed; in a guest, both streams as the console showed them.
    pub output: String,
    /// What it printed on stderr; empty for a program that ran in a guest.
    pub errors: String,
}

/// Runs a command to its end, whatever its exit code.
///
/// # Errors
/// When it cannot be started.
pub fn run(command: &mut Command) -> Result<Ran> {
    let ended = command.output().doing(format!("start {}", written(command)))?;
    Ok(Ran {
        exit_code: exit_code(ended.status),
        output: String::from_utf8_lossy(&ended.stdout).into_owned(),
        errors: String::from_utf8_lossy(&ended.stderr).into_owned(),
    })
}

/// Runs a command that must succeed, and gives what it printed on stdout.
///
/// # Errors
/// When it cannot be started or its exit code is not 0.
pub fn succeed(command: &mut Command) -> Result<String> {
    run(command)?.success(&written(command))
}

impl Ran {
    /// What it printed on stdout, if its exit code is 0.
    ///
    /// # Errors
    /// With everything it printed, when it is not; `command` is how the error calls it.
    pub fn success(self, command: &str) -> Result<String> {
        if self.exit_code == 0 {
            return Ok(self.output);
        }
        Err(LabError::Program {
            command: command.to_owned(),
            ending: format!("exit code {}", self.exit_code),
            said: format!("{}\n{}", self.output.trim(), self.errors.trim()).trim().to_owned(),
        })
    }
}

/// These processes go before others, with all the threads that they have by now: each guest has processors of its own, and
/// hundreds of processes that stand for guests on two processors get more of them together than one program does, however little
/// each may have.
///
/// # Errors
/// When a process has ended, or without root.
pub fn before_others(processes: &[u32]) -> Result<()> {
    for pid in processes {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(tasks).doing(format!("list the threads of process {pid}"))?.flatten() {
            let reniced = succeed(Command::new("renice").args(["-n", "-20", "-p"]).arg(task.file_name()));
            if task.path().exists() {
                reniced?; // a thread may end meanwhile
            }
        }
    }
    Ok(())
}

/// A program of this workspace, by its name: next to the running test or, from `$FENCE_BIN_DIR`, elsewhere.
///
/// # Errors
/// When it was not built.
pub fn ours(name: &str) -> Result<PathBuf> {
    let running = env::current_exe().doing("find the running program")?;
    let beside = running.ancestors().skip(1).take(2).map(Path::to_path_buf);
    env::var_os("FENCE_BIN_DIR")
        .map(PathBuf::from)
        .into_iter()
        .chain(beside)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| LabError::Missing {
            what: format!("the program {name}"),
            remedy: "build it with `cargo build --workspace` (with the same profile as the tests)".into(),
        })
}

/// Cargo's target directory of the running program (`TARGET/debug/PROGRAM` or `TARGET/debug/deps/TEST`), where the lab keeps
/// what it builds.
///
/// # Errors
/// When the running program does not lie in a target directory.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let running = env::current_exe().doing("find the running program")?;
    let mut above = running.ancestors().skip(1);
    let profile = above.find(|directory| !directory.ends_with("deps"));
    let target = profile.filter(|profile| profile.join("deps").is_dir()).and_then(Path::parent);
    target.map(Path::to_path_buf).ok_or_else(|| LabError::Missing {
        what: format!("cargo's target directory around {}", running.display()),
        remedy: "set FENCE_LAB_CACHE to a directory and FENCE_VMCHANNEL_CLIENT to the static client".into(),
    })
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn written(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}
