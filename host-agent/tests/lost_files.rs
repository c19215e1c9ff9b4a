//! An agent whose files somebody removes.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);
const UUID: &str = "00000000-0000-0000-0000-000000000001";

/// An agent with one domain, once it is ready; and its log.
fn agent(dir: &Path) -> io::Result<(Child, BufReader<ChildStderr>)> {
    fs::write(dir.join("domains.toml"), format!("[[domain]]\nname = \"web1\"\nuuid = \"{UUID}\"\n"))?;
    fs::write(dir.join("agent.toml"), format!("runtime-dir = {:?}\n", dir.join("run")))?;
    let mut agent = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
    agent
        .args(["run", "--simulate"])
        .arg(dir.join("domains.toml"))
        .arg("--config")
        .arg(dir.join("agent.toml"));
    let mut agent = agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut log = BufReader::new(agent.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let is_ready = log.by_ref().lines().map_while(Result::ok).any(|line| line.contains("ready"));
    if is_ready { Ok((agent, log)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Waits until the condition holds.
fn in_time(mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + PATIENCE;
    while !holds() && Instant::now() < until {
        sleep(Duration::from_millis(100)); // nothing tells when a directory that does not exist is made
    }
    holds()
}

#[test]
fn sockets_and_their_directory_are_made_anew_and_operators_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (mut agent, _log) = agent(dir.path()).unwrap();
    let (guests, control) = (dir.path().join("run/guests"), dir.path().join("run/control.sock"));
    let socket = guests.join(format!("{UUID}.sock"));
    assert!(in_time(|| UnixStream::connect(&socket).is_ok()));

    fs::remove_dir_all(&guests).unwrap();
    fs::remove_file(&control).unwrap();

    let is_back = in_time(|| UnixStream::connect(&socket).is_ok() && UnixStream::connect(&control).is_ok());
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(is_back);
}

#[test]
fn without_its_directory_it_ends_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut agent, mut log) = agent(dir.path()).unwrap();

    fs::rename(dir.path().join("run"), dir.path().join("away")).unwrap();

    let (mut said, ended) = (String::new(), in_time(|| agent.try_wait().unwrap().is_some()));
    agent.kill().unwrap();
    let code = agent.wait().unwrap().code();
    log.read_to_string(&mut said).unwrap();
    assert!(ended && code == Some(1), "{code:?}");
    assert!(said.contains("run/agent.lock was removed while the agent runs"), "{said}");
}
