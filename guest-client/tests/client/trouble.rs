//! Ports that are not there, busy, forbidden or silent.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::host::{client, end, start, terminal};

const OFF: [&str; 5] = ["-o", "off", "-n", "web2", "--device"];

#[test]
fn no_answer_is_a_failure_and_never_off() {
    let (_master, _slave, device) = terminal();
    for action in ["off", "on", "reboot", "status", "monitor", "list"] {
        let ended = client(&["-o", action, "-n", "web2", "-t", "0.3", "--device", &device]);

        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("no answer from the host within 0.3 s"), "{ended:?}");
        assert_eq!(ended.out, "");
    }
}

#[test]
fn no_answer_says_that_the_state_is_unknown() {
    let (_master, _slave, device) = terminal();

    let ended = client(&[&OFF[..], &[&device, "-t", "0.3"]].concat());

    assert!(ended.err.contains("the state of web2 is unknown"), "{ended:?}");
    assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&ended.took), "{ended:?}");
}

#[test]
fn a_busy_port_is_waited_for_until_the_timeout_and_its_holder_named() {
    let (_master, slave, device) = terminal();
    let _held = Flock::lock(slave, FlockArg::LockExclusiveNonblock).unwrap();

    let ended = client(&[&OFF[..], &[&device, "-t", "0.3"]].concat());

    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("is in use by"), "{ended:?}");
    assert!(ended.err.contains(&format!("(process {})", std::process::id())), "{ended:?}");
}

#[test]
fn an_agent_that_does_not_listen_is_waited_for_until_the_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("channel");
    drop(UnixListener::bind(&path).unwrap());

    let ended = client(&[&OFF[..], &[path.to_str().unwrap(), "-t", "0.3"]].concat());

    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("the host's agent is not connected"), "{ended:?}");
    assert!(ended.took >= Duration::from_millis(300), "{ended:?}");
}

#[test]
fn an_agent_that_accepts_and_hangs_up_is_not_asked_in_a_spin() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("channel");
    let listener = UnixListener::bind(&path).unwrap();
    let started = Instant::now();
    let child = start(&[&OFF[..], &[path.to_str().unwrap(), "-t", "0.5"]].concat());

    listener.set_nonblocking(true).unwrap();
    let mut connections = 0;
    while started.elapsed() < Duration::from_millis(700) {
        match listener.accept() {
            Ok(_) => connections += 1,
            Err(_) => std::thread::yield_now(),
        }
    }

    assert_eq!(end(child, started).code, 1);
    assert!(connections <= 11, "{connections} connections in 500 ms");
}

#[test]
fn a_device_that_is_none_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let cases = [
        ("/dev/none", "there is no /dev/none"),
        ("/dev/null", "is no channel"),
        (file.to_str().unwrap(), "is no channel"),
    ];
    for (device, says) in cases {
        let ended = client(&[&OFF[..], &[device]].concat());

        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains(says), "{ended:?}");
        assert!(ended.took < Duration::from_secs(5), "it is told at once");
    }
}

#[test]
fn without_a_channel_it_says_what_to_do() {
    let ended = client(&["-o", "off", "-n", "web2"]);

    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("fence-vmchanneld channel add --cluster NAME THIS-VM"), "{ended:?}");
}

#[test]
fn validate_all_says_what_is_wrong() {
    let (_master, _slave, device) = terminal();

    let right = client(&["-o", "validate-all", "--device", &device]);
    let no_port = client(&["-o", "validate-all"]);
    let no_channel = client(&["-o", "validate-all", "--device", "/etc/passwd"]);
    let no_number = client(&["-o", "validate-all", "--device", &device, "-t", "x"]);

    assert_eq!((right.code, right.err.as_str()), (0, ""));
    assert!(no_port.code == 1 && no_port.err.contains("no channel found"), "{no_port:?}");
    assert!(no_channel.code == 1 && no_channel.err.contains("is no channel"), "{no_channel:?}");
    assert!(no_number.code == 1 && no_number.err.contains("number of seconds"), "{no_number:?}");
}
