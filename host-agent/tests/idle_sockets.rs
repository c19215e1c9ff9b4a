//! Sockets at which nobody is, while the agent has no descriptor left for who knocks there.
#![expect(clippy::unwrap_used, reason = "what a test cannot set up fails it")]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

const PATIENCE: Duration = Duration::from_secs(20);
const WHILE: Duration = Duration::from_secs(1);

struct Agent {
    process: Child,
    /// It must be able to write it.
    _log: BufReader<ChildStderr>,
}

impl Agent {
    /// An agent with domains that are off, and their sockets.
    fn start(dir: &Path) -> (Self, Vec<PathBuf>) {
        let uuid = |number| format!("00000000-0000-0000-0000-00000000000{number}");
        let domain = |number| {
            format!("[[domain]]\nname = \"web{number}\"\nuuid = \"{}\"\nrunning = false\n", uuid(number))
        };
        fs::write(dir.join("domains.toml"), (0..3).map(domain).collect::<String>()).unwrap();
        fs::write(dir.join("agent.toml"), format!("runtime-dir = {:?}\n", dir.join("run"))).unwrap();
        let mut agent = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
        agent
            .args(["run", "--simulate"])
            .arg(dir.join("domains.toml"))
            .arg("--config")
            .arg(dir.join("agent.toml"));
        let mut agent =
            agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(agent.stderr.take().unwrap());
        assert!(log.by_ref().lines().map_while(Result::ok).any(|line| line.contains("ready")));
        let sockets: Vec<_> =
            (0..3).map(|number| dir.join(format!("run/guests/{}.sock", uuid(number)))).collect();
        let deadline = Instant::now() + PATIENCE;
        while !sockets.iter().all(|socket| socket.exists()) {
            assert!(Instant::now() < deadline, "no sockets");
            std::thread::sleep(Duration::from_millis(5)); // the agent is just making the socket
        }
        (Self { process: agent, _log: log }, sockets)
    }

    /// How many descriptors it may have from now on.
    fn limit(&self, files: u64) {
        let pid = Pid::from_child(&self.process);
        let maximum = getrlimit(Resource::Nofile).maximum; // as it inherited it from us
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(files), maximum }).unwrap();
    }

    /// Its processor time, in hundredths of a second.
    fn used(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn who_knocks_while_there_are_no_descriptors_costs_nothing_and_is_answered_when_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, sockets) = Agent::start(dir.path());
    agent.limit(8);

    let mut knocking: Vec<_> = sockets.iter().map(|socket| UnixStream::connect(socket).unwrap()).collect();
    let before = agent.used();
    knocking[0].set_read_timeout(Some(WHILE)).unwrap();
    let unheard = knocking[0].read(&mut [0]).unwrap_err();
    let used = agent.used() - before;
    agent.limit(256);

    assert_eq!(unheard.kind(), ErrorKind::WouldBlock);
    assert!(used <= 20, "{used} hundredths of a second");
    for stranger in &mut knocking {
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stranger.read(&mut [0]).unwrap(), 0, "looked at and turned away");
    }
}
