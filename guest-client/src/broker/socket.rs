//! The socket that programs connect to.
//!
//! In:  the listening socket as standard input (systemd: `StandardInput=socket`), else a path. Out: [`Door`].
//!
//! Invariant: one broker at a path at a time; a socket that a killed one left is taken over.
//!
//! systemd's other way, descriptor 3, could only be taken up by unsafe code.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as Listener;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use tokio::net::UnixListener;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("sockets were passed, but not as standard input: set StandardInput=socket in the unit")]
    NotAsInput,
    #[error("another broker serves {}: end it first", .0.display())]
    Taken(PathBuf),
    #[error("cannot listen on {}", .path.display())]
    Broken { path: PathBuf, source: io::Error },
}

/// An open socket; one that was made here is removed at the end.
pub(super) struct Door {
    pub(super) listener: UnixListener,
    made: Option<(PathBuf, Flock<File>)>,
}

impl Door {
    /// The socket that was passed, else a new one at `path`. Needs a runtime.
    pub(super) fn open(path: &Path) -> Result<Self, SocketError> {
        let broken = |source| SocketError::Broken { path: path.to_owned(), source };
        let (listener, made) = match passed().map_err(broken)? {
            Some(listener) => (listener, None),
            None if std::env::var_os("LISTEN_FDS").is_some() => return Err(SocketError::NotAsInput),
            None => {
                let lock = lock(path)?;
                (make(path).map_err(broken)?, Some((path.to_owned(), lock)))
            }
        };
        listener.set_nonblocking(true).map_err(broken)?;
        Ok(Self { listener: UnixListener::from_std(listener).map_err(broken)?, made })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some((path, _lock)) = &self.made {
            // If it cannot be removed it refuses connections, and clients take the port.
            fs::remove_file(path).ok();
        }
    }
}

fn passed() -> io::Result<Option<Listener>> {
    let input = io::stdin();
    match getsockopt(&input, AcceptConn) {
        Ok(true) => input.as_fd().try_clone_to_owned().map(|input| Some(input.into())),
        Ok(false) | Err(_) => Ok(None),
    }
}

/// A broker that was killed holds its lock until the kernel has ended it. A lock's end is no event that can be waited for with a
/// deadline, so it is tried again.
const ENDING: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

fn lock(path: &Path) -> Result<Flock<File>, SocketError> {
    let broken = |source| SocketError::Broken { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(broken)?;
    }
    let file = lock_file(&path.with_extension("lock")).map_err(broken)?;
    let until = Instant::now() + ENDING;
    let mut locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    while let Err((file, _)) = locked {
        if Instant::now() > until {
            return Err(SocketError::Taken(path.to_owned()));
        }
        sleep(LOOK);
        locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    }
    locked.map_err(|_| SocketError::Taken(path.to_owned()))
}

/// Whoever can open it can lock it, and keep the broker from starting; an older one may be open to everybody.
fn lock_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn make(path: &Path) -> io::Result<Listener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = Listener::bind(path)?;
    // Everybody may knock: the policy decides by the user, and says no in words.
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_open_the_lock_also_where_an_older_broker_left_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("broker.sock");
        let file = directory.path().join("broker.lock");
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;

        drop(lock(&socket).unwrap());
        let made = mode();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        drop(lock(&socket).unwrap());

        assert_eq!((made, mode()), (0o600, 0o600));
    }
}
