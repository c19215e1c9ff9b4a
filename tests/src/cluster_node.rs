//! The only node of a real cluster: corosync and Pacemaker with all their daemons, in namespaces of their own.
//!
//! In:  Debian's packages, by [`crate::debian`]. Out: a [`ClusterNode`] and commands in it.
//!
//! Invariant: nothing of it is seen outside its namespaces, and nothing of it survives its test process: its first process
//! ends when the pipe from the test does, and everything in it with that.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::debian::Packages;
use crate::error::{Doing, LabError, Result};

/// What a node has installed.
const PACKAGES: [&str; 5] =
    ["corosync", "pacemaker", "pacemaker-common", "pacemaker-cli-utils", "resource-agents"];
const INIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cluster_node/init");
/// Corosync and Pacemaker take a second or two on an idle machine.
const READY: Duration = Duration::from_secs(60);

/// A running node.
#[derive(Debug)]
pub struct ClusterNode {
    unshare: Child,
    pid: String,
}

impl ClusterNode {
    /// Starts the node, whose name is `n1`, and waits until its Pacemaker takes node attributes.
    ///
    /// # Errors
    /// When the packages cannot be fetched, or it is not ready in time.
    pub fn start() -> Result<Self> {
        let tree = Packages::get("cluster-node", &PACKAGES)?;
        let scratch = tree.path("scratch"); // each node mounts its own file system there
        fs::create_dir_all(&scratch).doing("make a node's directory")?;
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--net",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        command.args(["--", "sh", INIT]).args([tree.path("."), scratch]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut unshare = command.spawn().doing("start unshare")?;
        let said = unshare.stdout.take();
        let mut node = Self { unshare, pid: String::new() };
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let first = said.and_then(|said| BufReader::new(said).lines().next());
            tell.send(first.and_then(std::result::Result::ok)).ok(); // nobody waits any more
        });
        match told.recv_timeout(READY) {
            Ok(Some(line)) if line == "ready" => {}
            Ok(line) => {
                let last_seen = line.unwrap_or_else(|| "nothing; its errors are above".into());
                return Err(LabError::Ended {
                    who: "the node".into(),
                    awaited: "its cluster".into(),
                    last_seen,
                });
            }
            Err(_) => {
                let last_seen = "corosync or Pacemaker still starting".into();
                return Err(LabError::TimedOut {
                    waited: READY,
                    awaited: "the node's cluster".into(),
                    last_seen,
                });
            }
        }
        node.pid = node.first_process()?;
        Ok(node)
    }

    /// A command in the node.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--mount", "--net", "--uts", "--ipc", "--pid", "--wd=/", "--"]);
        command.arg(program.as_ref());
        command
    }

    /// A file of the node, as this process reaches it.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{file}", self.pid))
    }

    fn first_process(&self) -> Result<String> {
        let unshare = self.unshare.id();
        let children = format!("/proc/{unshare}/task/{unshare}/children");
        let children = fs::read_to_string(&children).doing(format!("read {children}"))?;
        let first = children.split_whitespace().next().map(str::to_owned);
        first.ok_or_else(|| LabError::Missing {
            what: "the node's first process".into(),
            remedy: "see what it printed on stderr".into(),
        })
    }
}

impl Drop for ClusterNode {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        self.unshare.kill().ok(); // takes the first process, and so all of them, with it
        self.unshare.wait().ok();
    }
}
