//! An agent with one domain, which is off. It ends with whoever holds it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const UUID: &str = "00000000-0000-0000-0000-000000000001";

/// A directory with the settings of an agent.
pub(crate) struct Place(TempDir);

pub(crate) struct Program(Child);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let domains = format!("[[domain]]\nname = \"web1\"\nuuid = \"{UUID}\"\nrunning = false\n");
        fs::write(place.path("domains.toml"), domains).unwrap();
        fs::write(place.path("agent.toml"), format!("runtime-dir = {:?}\n", place.path("run"))).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path(&format!("run/guests/{UUID}.sock"))
    }

    /// Starts an agent here that logs to this.
    pub(crate) fn starts(&self, log: impl Into<Stdio>) -> Program {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
        agent.args(["run", "--simulate"]).arg(self.path("domains.toml"));
        agent.arg("--config").arg(self.path("agent.toml")).env("FENCE_VMCHANNEL_LOG", "debug");
        Program(agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// The same, once it is ready; and its log.
    pub(crate) fn is_served(&self) -> (Program, BufReader<ChildStderr>) {
        let mut agent = self.starts(Stdio::piped());
        let mut log = BufReader::new(agent.stderr.take().unwrap());
        assert!(log.by_ref().lines().map_while(Result::ok).any(|line| line.contains("ready")));
        (agent, log)
    }

    /// Whether a stranger's connection is closed, which is worth a line in the log.
    pub(crate) fn turns_a_stranger_away(&self) -> bool {
        let mut stranger = None;
        in_time(|| {
            stranger = UnixStream::connect(self.socket()).ok();
            stranger.is_some()
        });
        let mut stranger = stranger.expect("the agent makes its socket");
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        stranger.read(&mut [0]).unwrap() == 0
    }
}

impl Program {
    /// How it ended, if it does so by itself.
    pub(crate) fn ends(&mut self) -> Option<ExitStatus> {
        in_time(|| self.0.try_wait().unwrap().is_some());
        self.0.try_wait().unwrap()
    }
}

impl Deref for Program {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Waits until the condition holds. A child's end, and a directory that does not exist yet, are told by nothing with a deadline.
pub(crate) fn in_time(mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}
