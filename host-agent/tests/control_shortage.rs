//! An agent without descriptors, and an operator who asks it.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

const PATIENCE: Duration = Duration::from_secs(10);

/// The limit at which this process can open nothing more: descriptors are numbers, and those of closed ones are free.
fn no_room(pid: u32) -> Option<u64> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let open: HashSet<u64> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    (0..).find(|number| !open.contains(number))
}

#[test]
fn an_operator_who_asks_while_descriptors_are_short_is_answered_when_there_are_some_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("none.toml"), "").unwrap();
    let run = dir.path().join("run");
    fs::write(dir.path().join("agent.toml"), format!("runtime-dir = {run:?}\n")).unwrap();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
    agent.args(["run", "--simulate"]).arg(dir.path().join("none.toml"));
    agent.arg("--config").arg(dir.path().join("agent.toml"));
    let mut agent = agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (told, log) = mpsc::channel();
    let lines = BufReader::new(agent.stderr.take().unwrap()).lines();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
    while !log.recv_timeout(PATIENCE).unwrap().contains("ready") {}
    std::thread::sleep(Duration::from_millis(300)); // until it has opened all that it needs
    let limit = |soft| {
        let pid = Pid::from_raw(agent.id().try_into().unwrap());
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(soft), maximum: Some(1000) }).unwrap();
    };

    limit(no_room(agent.id()).unwrap());
    let mut operator = UnixStream::connect(run.join("control.sock")).unwrap();
    operator.set_read_timeout(Some(PATIENCE)).unwrap();
    operator.write_all(b"{\"question\":\"guests\"}\n").unwrap();
    std::thread::sleep(Duration::from_secs(4)); // eight times it is tried again
    let lines: Vec<String> = log.try_iter().collect();
    limit(1000);
    let mut answer = String::new();
    let read = BufReader::new(operator).read_line(&mut answer);
    agent.kill().unwrap();
    agent.wait().unwrap();

    assert!(answer.contains("\"answer\":\"guests\""), "{read:?} {answer:?}, {lines:#?}");
    let lacks = lines.iter().filter(|line| line.contains("could not be taken")).count();
    assert!((1..=6).contains(&lacks), "{lines:#?}");
}
