//! One agent at a time: two would decide apart from each other.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn agent(dir: &std::path::Path) -> Command {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
    agent.arg("run").arg("--simulate").arg(dir.join("none.toml")).arg("--config").arg(dir.join("agent.toml"));
    agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    agent
}

#[test]
fn a_second_agent_for_the_same_directory_says_so_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("none.toml"), "").unwrap();
    let runtime = dir.path().join("run");
    std::fs::write(
        dir.path().join("agent.toml"),
        format!("runtime-dir = {:?}\n", runtime.display().to_string()),
    )
    .unwrap();
    let mut first = agent(dir.path()).spawn().unwrap();
    let log = BufReader::new(first.stderr.take().unwrap());
    assert!(log.lines().map_while(Result::ok).any(|line| line.contains("ready")));

    let second = agent(dir.path()).output().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let mut third = agent(dir.path()).spawn().unwrap();
    let log = BufReader::new(third.stderr.take().unwrap());
    let ready = log.lines().map_while(Result::ok).any(|line| line.contains("ready"));
    third.kill().unwrap();
    third.wait().unwrap();

    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another fence-vmchanneld runs already"), "{said}");
    assert!(ready, "a killed agent leaves no lock");
}
