//! Waits for the agent to make a socket.
//!
//! In:  the path of a socket. Out: whether it is there.
//!
//! Invariant: makes nothing itself; waits for an event of the directory and never longer than told.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use inotify::{Inotify, WatchMask};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Room for some events; what they say does not matter.
const EVENT_BYTES: usize = 4096;

/// Whether the socket is there within this time.
pub(super) fn appears(socket: &Path, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let Some(directory) = socket.parent() else { return false };
    let Ok(mut events) = Inotify::init() else { return socket.exists() };
    if events.watches().add(directory, WatchMask::CREATE | WatchMask::MOVED_TO).is_err() {
        return false;
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if socket.exists() || left.is_zero() {
            return socket.exists();
        }
        let mut wanted = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wanted, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return socket.exists(),
        }
        // Events only say when to look again.
        let _ = events.read_events(&mut [0; EVENT_BYTES]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_appears_while_we_wait_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("a.sock");
        let later = socket.clone();

        let agent = std::thread::spawn(move || std::os::unix::net::UnixListener::bind(later).unwrap());

        assert!(appears(&socket, Duration::from_secs(10)));
        agent.join().unwrap();
    }

    #[test]
    fn without_an_agent_nothing_is_waited_for() {
        let start = Instant::now();

        assert!(!appears(Path::new("/nonexistent/a.sock"), Duration::from_secs(10)));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
