//! An agent whose log cannot be written any more, or not now.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{Place, Program};

/// A pipe in which there is no room, and that nobody reads; and how much is in it.
fn hanging() -> (PipeReader, PipeWriter, usize) {
    let (log, mut end) = pipe().unwrap();
    let size = fcntl(&end, FcntlArg::F_SETPIPE_SZ(4096)).unwrap().try_into().unwrap();
    end.write_all(&vec![b'.'; size]).unwrap();
    (log, end, size)
}

fn is_stopped(agent: &Program) {
    kill(Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
}

#[test]
fn an_agent_whose_log_is_closed_goes_on_with_its_work() {
    let place = Place::new();
    let (mut agent, log) = place.is_served();
    drop(log);

    assert_eq!([(); 3].map(|()| place.turns_a_stranger_away()), [true; 3]);
    assert_eq!(agent.try_wait().unwrap(), None);
}

#[test]
fn an_agent_whose_log_hangs_goes_on_with_its_work_and_ends_when_it_is_to() {
    let (place, (mut log, end, size)) = (Place::new(), hanging());
    let mut agent = place.starts(end);

    let is_served = place.turns_a_stranger_away();
    is_stopped(&agent);
    let ended = agent.ends();
    let mut seen = Vec::new();
    drop(agent);
    log.read_to_end(&mut seen).unwrap();

    assert!(is_served && ended.is_some_and(|status| status.success()), "{is_served}, {ended:?}");
    assert_eq!(seen.len(), size, "nothing of it could be written");
}

#[test]
fn an_agent_that_fails_while_its_log_hangs_ends_all_the_same() {
    let (place, (_log, end, _)) = (Place::new(), hanging());
    let _first = place.starts(Stdio::null());
    assert!(place.turns_a_stranger_away());

    let ended = place.starts(end).ends();

    assert_eq!(ended.and_then(|status| status.code()), Some(1));
}

#[test]
fn what_is_logged_last_is_written_before_the_end() {
    let (place, mut said) = (Place::new(), String::new());
    let (mut agent, mut log) = place.is_served();

    is_stopped(&agent);
    agent.ends();
    log.read_to_string(&mut said).unwrap();

    assert!(said.trim_end().lines().last().is_some_and(|last| last.contains("stopped")), "{said}");
}
