//! A process that ends leaves the C libraries as they are: threads may still be in them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a library does that is taken apart while it is used.
const FRAGILE: &str =
    "#include <stdlib.h>\n__attribute__((destructor)) static void taken_apart(void) { abort(); }\n";

#[test]
fn a_command_and_the_agent_end_without_taking_libraries_apart() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    std::fs::write(&config, format!("runtime-dir = {:?}\n", dir.path().join("run").display().to_string()))
        .unwrap();
    std::fs::write(dir.path().join("none.toml"), "").unwrap();
    let (source, library) = (dir.path().join("fragile.c"), dir.path().join("fragile.so"));
    std::fs::write(&source, FRAGILE).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.unwrap().success());
    let program = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
        command.args(words).env("LD_PRELOAD", &library).stdin(Stdio::null());
        command
    };
    let none = dir.path().join("none.toml").display().to_string();
    let mut agent = program(&["run", "--simulate", &none, "--config"]);
    let mut agent = agent.arg(&config).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(agent.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("ready")));

    let help = program(&["--help"]).output().unwrap();
    kill(Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let ended = agent.wait().unwrap();

    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).ends_with('\n'), "all of it is told");
    assert_eq!(ended.code(), Some(0));
}
