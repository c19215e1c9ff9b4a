//! A lab: a private libvirtd in its own mount and network namespace.
//!
//! In:  root, and libvirt's packages.
//! Out: a libvirtd whose every file lies in the lab's directory, under the control of the test.
//!
//! Invariant: a supervisor process stands above all that runs in the lab, and ends it when the lab is
//! dropped or its owner is gone, however it went.

mod clearing;
pub(crate) mod freezer;
pub(crate) mod rooms;
pub mod supervisor;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Doing, LabError, Result};
use crate::image;
use crate::programs;

/// A private libvirtd and everything around it.
#[derive(Debug)]
pub struct Lab {
    directory: PathBuf,
    supervisor: Mutex<Line>,
    supervisor_pid: u32,
}

/// The line to the supervisor: a word out, an answer back.
#[derive(Debug)]
struct Line {
    process: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Lab {
    /// The lab that all tests of this process share. It ends with the process.
    ///
    /// # Errors
    /// When the lab could not be started; every caller gets the same reason.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<std::result::Result<Lab, String>> = OnceLock::new();
        let lab = SHARED.get_or_init(|| Self::start().map_err(|error| error.to_string()));
        lab.as_ref().map_err(|reason| LabError::Supervisor(reason.clone()))
    }

    /// A lab of one's own. It ends, with everything in it, when it is dropped.
    ///
    /// # Errors
    /// When this is not root, libvirt is not installed, or libvirtd does not start.
    pub fn start() -> Result<Self> {
        let supervisor = programs::ours("fence-vmchannel-lab")?;
        let directory = nix::unistd::mkdtemp("/tmp/fvl.XXXXXX").doing("make the lab's directory")?;
        remember_capabilities(&directory)?;
        let log = directory.join("supervisor.log");
        let log = File::create(&log).doing(format!("make {}", log.display()))?;
        let mut process = Command::new(supervisor)
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log) // a lab that outlives the test must not hold the test's stderr open
            .process_group(0) // Ctrl-C is for the test; the supervisor sees it end
            .spawn()
            .doing("start the lab's supervisor")?;
        let supervisor_pid = process.id();
        let words = process.stdin.take();
        let answers = process.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe);
        let line = Line { process, words, answers: BufReader::new(answers.doing("hear the supervisor")?) };
        let lab = Self { directory, supervisor: Mutex::new(line), supervisor_pid };
        lab.line(|line| line.answer())?;
        Ok(lab)
    }

    /// Where the lab's file with this (absolute) path inside lies for those outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        if Path::new(inside).starts_with(rooms::RUN) {
            return self.inside(inside);
        }
        rooms::ROOMS
            .iter()
            .find_map(|(place, room)| {
                let rest = Path::new(inside).strip_prefix(place).ok()?;
                Some(self.directory.join(room).join(rest))
            })
            .unwrap_or_else(|| PathBuf::from(inside))
    }

    /// The lab's file with this (absolute) path inside, as those inside see it, with what is mounted there.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.supervisor_pid))
    }

    /// The lab's directory, which has the same path inside and outside.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory for the agent's policy files.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.directory.join("policy.d")
    }

    /// Moves the calling thread, and what it starts from now on, into the lab. There is no way back.
    ///
    /// # Errors
    /// When the lab has ended, or this is not root.
    pub fn enter(&self) -> Result<()> {
        self.entrance()?.go_in()
    }

    /// A way into the lab for another thread.
    ///
    /// # Errors
    /// When the lab has ended, or this is not root.
    pub(crate) fn entrance(&self) -> Result<Entrance> {
        let of_supervisor = |kind: &str| {
            let path = format!("/proc/{}/ns/{kind}", self.supervisor_pid);
            File::open(&path).doing(format!("open {path}"))
        };
        Ok(Entrance { mounts: of_supervisor("mnt")?, network: of_supervisor("net")? })
    }

    /// What a person types before a command (`virsh console web1`) to run it in this lab.
    #[must_use]
    pub fn entry(&self) -> String {
        format!("nsenter --target={} --mount --net --", self.supervisor_pid)
    }

    /// A command that will run inside the lab, in the directory `/`, with its own pid.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.supervisor_pid))
            .args(["--mount", "--net", "--"])
            .arg(program)
            .env_remove("LIBVIRT_DEFAULT_URI");
        command
    }

    /// Runs virsh, for at most a minute, and gives what it printed.
    ///
    /// # Errors
    /// With virsh's own words, when it fails.
    pub fn virsh(&self, words: &[&str]) -> Result<String> {
        self.virsh_within(Duration::from_secs(60), words)
    }

    /// Runs virsh, for at most `patience`: it hangs as long as libvirtd does.
    ///
    /// # Errors
    /// With virsh's own words, when it fails; with exit code 124 when it took too long.
    pub fn virsh_within(&self, patience: Duration, words: &[&str]) -> Result<String> {
        let mut virsh = self.command("timeout");
        virsh.arg("--kill-after=1").arg(patience.as_secs_f64().to_string());
        virsh.args(["virsh", "--quiet", "-c", "qemu:///system"]);
        let ran = programs::run(virsh.args(words).stdin(Stdio::null()))?;
        ran.success(&format!("virsh {}", words.join(" ")))
    }

    /// libvirtd's own log.
    #[must_use]
    pub fn libvirtd_log(&self) -> String {
        fs::read_to_string(self.path("/var/log/libvirt/libvirtd.log")).unwrap_or_default()
    }

    /// libvirtd's pid.
    ///
    /// # Errors
    /// When it does not run.
    pub fn libvirtd_pid(&self) -> Result<u32> {
        self.tell("pid")
    }

    /// Kills libvirtd (SIGKILL) and waits until it is gone. The guests go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn libvirtd_kill(&self) -> Result<()> {
        self.tell("kill").map(drop)
    }

    /// Starts libvirtd again and waits until it has its sockets.
    ///
    /// # Errors
    /// When it runs already or does not start.
    pub fn libvirtd_start(&self) -> Result<()> {
        self.tell("start").map(drop)
    }

    /// Makes libvirtd hang (SIGSTOP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn libvirtd_stop(&self) -> Result<()> {
        self.tell("stop").map(drop)
    }

    /// Lets a hanging libvirtd go on (SIGCONT).
    ///
    /// # Errors
    /// When it does not run.
    pub fn libvirtd_cont(&self) -> Result<()> {
        self.tell("cont").map(drop)
    }

    /// Makes libvirtd read its configuration and look for hooks again (SIGHUP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn libvirtd_hup(&self) -> Result<()> {
        self.tell("hup").map(drop)
    }

    fn tell(&self, word: &str) -> Result<u32> {
        self.line(|line| {
            let words = line.words.as_mut();
            let words = words.ok_or_else(|| LabError::Supervisor("the lab has ended".into()))?;
            writeln!(words, "{word}").doing("speak to the lab's supervisor")?;
            line.answer()
        })
    }

    fn line<T>(&self, speak: impl FnOnce(&mut Line) -> Result<T>) -> Result<T> {
        let mut line = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner);
        speak(&mut line)
    }
}

/// A way into a lab.
#[derive(Debug)]
pub(crate) struct Entrance {
    mounts: File,
    network: File,
}

impl Entrance {
    /// Moves the calling thread into the lab.
    pub(crate) fn go_in(self) -> Result<()> {
        unshare(CloneFlags::CLONE_FS).doing("give this thread its own root")?;
        setns(self.mounts, CloneFlags::CLONE_NEWNS).doing("enter the lab's mounts")?;
        setns(self.network, CloneFlags::CLONE_NEWNET).doing("enter the lab's network")
    }
}

/// libvirt asks each QEMU for its capabilities once, which takes seconds; all labs share the answers.
fn remember_capabilities(directory: &Path) -> Result<()> {
    let shared = image::cache()?.join("capabilities");
    fs::create_dir_all(&shared).doing(format!("make {}", shared.display()))?;
    let place = directory.join("cache-libvirt/qemu");
    fs::create_dir_all(&place).doing(format!("make {}", place.display()))?;
    symlink(shared, place.join("capabilities")).doing("share libvirt's cache of capabilities")
}

impl Line {
    fn answer(&mut self) -> Result<u32> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).doing("hear the lab's supervisor")?;
        let pid = answer.strip_prefix("ok ").and_then(|pid| pid.trim().parse().ok());
        pid.ok_or_else(|| LabError::Supervisor(answer.trim().to_owned()))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.words.take()); // the supervisor clears the lab away when its stdin ends
        self.process.wait().ok();
    }
}
