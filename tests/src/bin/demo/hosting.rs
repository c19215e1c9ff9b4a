//! The demo's host: the lab with our programs on its PATH and nobody's settings, as on a machine where they are installed.
//!
//! In:  a [`Lab`]. Out: a shell on that host, and the agent running there with its log in a file.
//!
//! Invariant: the settings of an agent that is installed on this machine are not seen here.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use fence_vmchannel_tests::{Lab, Ran, programs};
use nix::unistd::Pid;

use crate::interruption::with_signals;
use crate::story::{Stumble, Told};

/// Where the agent's settings are when it is installed.
const SETTINGS: &str = "/etc/fence-vmchannel";
/// The agent's log, as a path on the demo's host.
pub(crate) const LOG: &str = "/run/fence-vmchanneld.log";

/// The demo's host.
#[derive(Debug)]
pub(crate) struct Host<'lab> {
    pub(crate) lab: &'lab Lab,
    path: OsString,
}

/// The running agent; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct RunningAgent(Child);

impl<'lab> Host<'lab> {
    pub(crate) fn of(lab: &'lab Lab) -> Told<Self> {
        let host = Self { lab, path: search_path()? };
        if Path::new(SETTINGS).is_dir() {
            let nothing = lab.policy();
            programs::succeed(lab.command("mount").arg("--bind").arg(nothing).arg(SETTINGS))?;
        }
        Ok(host)
    }

    /// Runs a command line by a shell on the host; both its outputs are in [`Ran::output`], in their order.
    pub(crate) fn run(&self, command: &str) -> Told<Ran> {
        Ok(programs::run(self.shell(&format!("exec 2>&1\n{command}")).stdin(Stdio::null()))?)
    }

    /// Starts the agent by this command line, and waits until it says that it is ready.
    pub(crate) fn start_agent(&self, command: &str) -> Told<RunningAgent> {
        let address = self.lab.directory().join("ready.sock");
        let notices = UnixDatagram::bind(&address)?;
        let mut shell = self.shell(&format!("exec {command}"));
        shell.env("NOTIFY_SOCKET", &address).stdin(Stdio::null()).stdout(Stdio::null());
        let agent = RunningAgent(with_signals(|| shell.spawn())?);
        notices.set_read_timeout(Some(Duration::from_secs(20)))?;
        let not_ready = || Stumble::Wrong("the agent did not become ready in 20 s".into());
        let mut notice = [0; 1024];
        loop {
            let length = notices.recv(&mut notice).map_err(|_| not_ready())?;
            let notice = String::from_utf8_lossy(notice.get(..length).unwrap_or_default());
            if notice.lines().any(|line| line == "READY=1") {
                return Ok(agent);
            }
        }
    }

    /// The lab's supervisor, which ends the lab when it gets SIGTERM: libvirtd's parent.
    pub(crate) fn supervisor(&self) -> Told<Pid> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.lab.libvirtd_pid()?))?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let pid = parent.and_then(|pid| pid.trim().parse().ok());
        pid.map(Pid::from_raw).ok_or_else(|| Stumble::Wrong("libvirtd has no parent".into()))
    }

    /// Lets the lab live on without the demo: a process in it holds what the demo would close at its end.
    pub(crate) fn outlive_the_demo(&self) -> Told<()> {
        let line = format!("/proc/{}/fd/0", self.supervisor()?);
        let line = File::options().write(true).open(line)?;
        let mut holder = self.lab.command("sleep");
        holder.arg("infinity").stdin(Stdio::null()).stdout(line).stderr(Stdio::null()).process_group(0);
        holder.spawn()?;
        Ok(())
    }

    /// What a person types to be root on this host.
    pub(crate) fn entry(&self) -> String {
        let ours = self.path.to_string_lossy();
        let ours = ours.split(':').next().unwrap_or_default();
        format!("{} env PATH={ours}:$PATH bash", self.lab.entry())
    }

    /// The agent's log as a path outside.
    pub(crate) fn log(&self) -> PathBuf {
        self.lab.path(LOG)
    }

    /// The last lines of the agent's log.
    pub(crate) fn end_of_log(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n")
    }

    fn shell(&self, script: &str) -> Command {
        // without a terminal: virsh would look for a polkit agent there, and Ctrl-C is for the demo alone
        let mut shell = self.lab.command("setsid");
        shell.args(["sh", "-c", script]).env("PATH", &self.path);
        shell.env("LC_ALL", "C.UTF-8").env_remove("FENCE_VMCHANNEL_LOG"); // what is printed is checked
        shell
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Where our programs were built, then the machine's own directories.
fn search_path() -> Told<OsString> {
    let agent = programs::ours("fence-vmchanneld")?;
    let machine = env::var_os("PATH").unwrap_or_default();
    let machine: Vec<PathBuf> = env::split_paths(&machine).collect();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let places = agent.parent().map(Path::to_path_buf).into_iter().chain(machine).chain(system);
    env::join_paths(places).map_err(|error| Stumble::Wrong(error.to_string()))
}
