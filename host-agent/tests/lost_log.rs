//! An agent whose log cannot be written any more, or not now.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);
const UUID: &str = "00000000-0000-0000-0000-000000000001";

/// A directory with the settings of an agent and its one domain, which is off.
fn a_place() -> io::Result<TempDir> {
    let dir = tempfile::tempdir()?;
    let domains = format!("[[domain]]\nname = \"web1\"\nuuid = \"{UUID}\"\nrunning = false\n");
    fs::write(dir.path().join("domains.toml"), domains)?;
    fs::write(dir.path().join("agent.toml"), format!("runtime-dir = {:?}\n", dir.path().join("run")))?;
    Ok(dir)
}

/// The agent of this place.
fn agent(dir: &TempDir) -> Command {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
    agent.args(["run", "--simulate"]).arg(dir.path().join("domains.toml"));
    agent.arg("--config").arg(dir.path().join("agent.toml"));
    agent.stdin(Stdio::null()).stdout(Stdio::null());
    agent
}

/// Whether a stranger's connection is closed, which is worth a line in the log.
fn is_turned_away(dir: &TempDir) -> io::Result<bool> {
    let (socket, until) = (dir.path().join(format!("run/guests/{UUID}.sock")), Instant::now() + PATIENCE);
    let mut stranger = loop {
        match UnixStream::connect(&socket) {
            // The agent is just making the socket.
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            connected => break connected?,
        }
    };
    stranger.set_read_timeout(Some(PATIENCE))?;
    Ok(stranger.read(&mut [0])? == 0)
}

#[test]
fn an_agent_whose_log_is_closed_goes_on_with_its_work() {
    let dir = a_place().unwrap();
    let mut agent = agent(&dir).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(agent.stderr.take().unwrap());
    assert!(log.by_ref().lines().map_while(Result::ok).any(|line| line.contains("ready")));
    drop(log);

    let turned_away = [(); 3].map(|()| is_turned_away(&dir).unwrap());
    let ended = agent.try_wait().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();

    assert_eq!(turned_away, [true; 3]);
    assert_eq!(ended, None);
}

#[test]
fn an_agent_whose_log_hangs_goes_on_with_its_work_and_ends_when_it_is_to() {
    let dir = a_place().unwrap();
    let (mut log, mut end) = io::pipe().unwrap();
    let size = fcntl(&end, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    end.write_all(&vec![b'.'; size.try_into().unwrap()]).unwrap(); // nobody reads it
    let mut agent = agent(&dir).env("FENCE_VMCHANNEL_LOG", "trace").stderr(end).spawn().unwrap();

    let is_served = is_turned_away(&dir).unwrap();
    kill(Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let ended = agent.wait().unwrap();
    let mut seen = Vec::new();
    log.read_to_end(&mut seen).unwrap();

    assert!(is_served && ended.success(), "{is_served}, {ended:?}");
    assert_eq!(seen.len(), usize::try_from(size).unwrap());
}

#[test]
fn an_agent_that_fails_while_its_log_hangs_ends_all_the_same() {
    let dir = a_place().unwrap();
    let mut first = agent(&dir).stderr(Stdio::null()).spawn().unwrap();
    assert!(is_turned_away(&dir).unwrap());
    let (log, mut end) = io::pipe().unwrap();
    let size = fcntl(&end, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    end.write_all(&vec![b'.'; size.try_into().unwrap()]).unwrap();

    let mut second = agent(&dir).stderr(end).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        let ended = second.try_wait().unwrap();
        if ended.is_some() || Instant::now() > until {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(20)); // a child's end is not waited for with a deadline
    };
    for agent in [&mut first, &mut second] {
        let _ = agent.kill(); // it has ended
        agent.wait().unwrap();
    }

    assert_eq!(ended.and_then(|status| status.code()), Some(1));
    drop(log);
}

#[test]
fn what_is_logged_last_is_written_before_the_end() {
    let dir = a_place().unwrap();
    let mut agent = agent(&dir).stderr(Stdio::piped()).spawn().unwrap();
    assert!(is_turned_away(&dir).unwrap());

    kill(Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let mut log = String::new();
    agent.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    agent.wait().unwrap();

    assert!(log.trim_end().lines().last().is_some_and(|last| last.contains("stopped")), "{log}");
}
