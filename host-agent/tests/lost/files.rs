//! An agent whose files somebody removes.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;

use crate::program::{Place, in_time};

#[test]
fn sockets_and_their_directory_are_made_anew_and_operators_are_answered() {
    let place = Place::new();
    let (_agent, _log) = place.is_served();
    assert!(in_time(|| UnixStream::connect(place.socket()).is_ok()));
    let control = place.path("run/control.sock");

    fs::remove_dir_all(place.path("run/guests")).unwrap();
    fs::remove_file(&control).unwrap();

    assert!(in_time(|| UnixStream::connect(place.socket()).is_ok() && UnixStream::connect(&control).is_ok()));
}

#[test]
fn without_its_directory_it_ends_and_says_so() {
    let place = Place::new();
    let (mut agent, mut log) = place.is_served();

    fs::rename(place.path("run"), place.path("away")).unwrap();

    assert_eq!(agent.ends().and_then(|status| status.code()), Some(1));
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    assert!(said.contains("run/agent.lock was removed while the agent runs"), "{said}");
}
