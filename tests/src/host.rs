//! The host's side in a lab: our agent, the operator's commands, the hook.
//!
//! In:  the workspace's own programs, built before.
//! Out: a running [`Agent`] whose log, process and restarts the test holds in its hand.
//!
//! Invariant: an agent that is dropped is gone.

mod log;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Doing, LabError, Result};
use crate::lab::Lab;
use crate::programs::{self, Ran};
use log::Log;

/// Until the agent says that it is ready.
const READY: Duration = Duration::from_secs(20);

/// A running `fence-vmchanneld` in a lab.
#[derive(Debug)]
pub struct Agent<'lab> {
    lab: &'lab Lab,
    process: Child,
    log: Log,
}

/// What a process holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory.
    pub memory_kib: usize,
    /// The part of it that is backed by no file.
    pub anonymous_kib: usize,
}

impl<'lab> Agent<'lab> {
    /// Starts the agent with its defaults, and waits until it is ready.
    ///
    /// # Errors
    /// When it was not built, ends, or is not ready in time; with its log.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        Self::start_with(lab, "")
    }

    /// Starts the agent with more lines in its configuration file, and waits until it is ready.
    /// The policy's directory is [`Lab::policy`].
    ///
    /// # Errors
    /// When it was not built, ends, or is not ready in time; with its log.
    pub fn start_with(lab: &'lab Lab, settings: &str) -> Result<Self> {
        configure(lab, settings)?;
        static STARTS: AtomicU32 = AtomicU32::new(0); // an earlier agent's end must not reach this one's socket
        let address = format!("notify{}.sock", STARTS.fetch_add(1, Ordering::Relaxed));
        let address = lab.directory().join(address);
        let notices = UnixDatagram::bind(&address).doing(format!("listen on {}", address.display()))?;
        let mut process = lab
            .command(programs::ours("fence-vmchanneld")?)
            .args(["run", "--config"])
            .arg(configuration(lab))
            .env("NOTIFY_SOCKET", &address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .doing("start the agent")?;
        let stderr = process.stderr.take().ok_or(std::io::ErrorKind::BrokenPipe);
        let log = Log::of(stderr.doing("read the agent's log")?, move || {
            if let Ok(socket) = UnixDatagram::unbound() {
                socket.send_to(b"ENDED=1", address).ok();
            }
        });
        let agent = Self { lab, process, log };
        agent.wait_until_ready(&notices)?;
        Ok(agent)
    }

    /// Kills the agent and starts it again with the same configuration, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let settings = fs::read_to_string(configuration(self.lab)).doing("read the agent's settings")?;
        let settings = settings.split_once('\n').map_or("", |(_, more)| more);
        *self = Self::start_with(self.lab, settings)?;
        Ok(())
    }

    /// Asks the agent to end (SIGTERM), waits for its end, and gives its exit code.
    ///
    /// # Errors
    /// When the system fails.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        self.signal(Signal::SIGTERM)?;
        let status = self.process.wait().doing("wait for the agent's end")?;
        Ok(status.code())
    }

    /// Kills the agent (SIGKILL), and waits for its end.
    pub fn kill(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }

    /// Makes the agent hang (SIGSTOP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn sigstop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a hanging agent go on (SIGCONT).
    ///
    /// # Errors
    /// When it does not run.
    pub fn sigcont(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Makes the agent read its policy again (SIGHUP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn sighup(&self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it holds now.
    ///
    /// # Errors
    /// When it does not run.
    pub fn holdings(&self) -> Result<Holdings> {
        let process = PathBuf::from(format!("/proc/{}", self.pid()));
        let descriptors = fs::read_dir(process.join("fd")).doing("count the agent's descriptors")?;
        let status = fs::read_to_string(process.join("status")).doing("read the agent's status")?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        Ok(Holdings {
            descriptors: descriptors.count(),
            threads: number("Threads:"),
            memory_kib: number("VmRSS:"),
            anonymous_kib: number("RssAnon:"),
        })
    }

    /// Everything it has logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Whether a line of its log contains this.
    #[must_use]
    pub fn log_contains(&self, part: &str) -> bool {
        self.log.lines().iter().any(|line| line.contains(part))
    }

    /// Waits for a line of its log that contains all `parts`; lines that are there already count too.
    ///
    /// # Errors
    /// When it does not come, or the agent ends; with the log.
    pub fn wait_for_log(&self, parts: &[&str], patience: Duration) -> Result<String> {
        self.log.wait_for(0, parts, patience)
    }

    /// As [`Self::wait_for_log`], but only lines after the first `count` count: take `log().len()` before acting.
    ///
    /// # Errors
    /// When it does not come, or the agent ends; with the log.
    pub fn wait_for_log_after(&self, count: usize, parts: &[&str], patience: Duration) -> Result<String> {
        self.log.wait_for(count, parts, patience)
    }

    fn wait_until_ready(&self, notices: &UnixDatagram) -> Result<()> {
        notices.set_read_timeout(Some(READY)).doing("set a deadline")?;
        let failed = |awaited: &str| LabError::Ended {
            who: "the agent".into(),
            awaited: awaited.into(),
            last_seen: self.log.lines().join("\n"),
        };
        loop {
            let mut notice = [0; 1024];
            let length = notices.recv(&mut notice).map_err(|_| failed("READY=1 (not in 20 s)"))?;
            let notice = String::from_utf8_lossy(notice.get(..length).unwrap_or_default()).into_owned();
            if notice.lines().any(|line| line == "READY=1") {
                return Ok(());
            }
            if notice == "ENDED=1" {
                return Err(failed("READY=1"));
            }
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).map_err(std::io::Error::other);
        kill(Pid::from_raw(pid.doing("use the agent's pid")?), signal)
            .doing(format!("send {signal} to the agent"))
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command of the operator, as `fence-vmchanneld COMMAND --config ...`, with the agent's configuration.
///
/// # Errors
/// When the program was not built or cannot be started.
pub fn operator(lab: &Lab, words: &[&str]) -> Result<Ran> {
    if !configuration(lab).exists() {
        configure(lab, "")?;
    }
    let mut command = lab.command(programs::ours("fence-vmchanneld")?);
    command.args(words).arg("--config").arg(configuration(lab));
    programs::run(command.stdin(Stdio::null()))
}

/// Puts our hook into the lab's libvirt, and restarts libvirtd so that it notices.
///
/// # Errors
/// When the hook was not built, or libvirtd does not come back.
pub fn install_hook(lab: &Lab) -> Result<()> {
    let directory = lab.path("/etc/libvirt/hooks/qemu.d");
    fs::create_dir_all(&directory).doing(format!("make {}", directory.display()))?;
    let hook = directory.join("50-fence-vmchannel");
    fs::copy(programs::ours("fence-vmchannel-hook")?, &hook).doing(format!("make {}", hook.display()))?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&hook, executable).doing(format!("let {} run", hook.display()))?;
    lab.libvirtd_kill()?;
    lab.libvirtd_start()
}

fn configure(lab: &Lab, settings: &str) -> Result<()> {
    let text = format!("policy-dir = {:?}\n{settings}", lab.policy().display().to_string());
    fs::write(configuration(lab), text).doing("write the agent's configuration")
}

fn configuration(lab: &Lab) -> PathBuf {
    lab.directory().join("agent.toml")
}
