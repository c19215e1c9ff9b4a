//! An agent whose log cannot be written any more.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
const UUID: &str = "00000000-0000-0000-0000-000000000001";

#[test]
fn an_agent_whose_log_is_closed_goes_on_with_its_work() {
    let dir = tempfile::tempdir().unwrap();
    let domains = format!("[[domain]]\nname = \"web1\"\nuuid = \"{UUID}\"\nrunning = false\n");
    fs::write(dir.path().join("domains.toml"), domains).unwrap();
    fs::write(dir.path().join("agent.toml"), format!("runtime-dir = {:?}\n", dir.path().join("run")))
        .unwrap();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
    agent.args(["run", "--simulate"]).arg(dir.path().join("domains.toml"));
    agent.arg("--config").arg(dir.path().join("agent.toml"));
    let mut agent = agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(agent.stderr.take().unwrap());
    assert!(log.by_ref().lines().map_while(Result::ok).any(|line| line.contains("ready")));
    drop(log);

    // Each stranger is worth a line in the log.
    let socket = dir.path().join(format!("run/guests/{UUID}.sock"));
    let turned_away = (0..3).map(|_| {
        let until = Instant::now() + PATIENCE;
        let mut stranger = loop {
            match UnixStream::connect(&socket) {
                Ok(stranger) => break stranger,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5)); // the agent is just making the socket
        };
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        stranger.read(&mut [0]).ok()
    });
    let turned_away: Vec<_> = turned_away.collect();
    let ended = agent.try_wait().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();

    assert_eq!(turned_away, [Some(0); 3]);
    assert_eq!(ended, None);
}
