//! The operator's side of the control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, Question};

/// Why the running agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error("the agent is not running (nobody listens on {path}): start it with `systemctl start fence-vmchanneld`, \
             or `fence-vmchanneld run`", path = path.display())]
    NotRunning {
        /// The control socket.
        path: PathBuf,
        /// The kernel's word.
        source: std::io::Error,
    },
    /// The socket is root's.
    #[error("{path} belongs to root: ask as root", path = path.display())]
    NotAllowed {
        /// The control socket.
        path: PathBuf,
    },
    /// It listens but does not answer.
    #[error("the agent did not answer ({0}): see journalctl -u fence-vmchanneld, and restart it if it hangs")]
    NoAnswer(std::io::Error),
    /// Its answer is none; the versions differ.
    #[error("the agent's answer was not understood: restart it after an update ({0})")]
    Strange(serde_json::Error),
}

/// Asks the agent that runs with this control socket. Waits at most 10 s.
pub fn ask(socket: &Path, question: &Question) -> Result<Answer, AskError> {
    let path = socket.to_owned();
    let stream = UnixStream::connect(socket).map_err(|source| {
        let denied = source.kind() == std::io::ErrorKind::PermissionDenied;
        if denied { AskError::NotAllowed { path } } else { AskError::NotRunning { path, source } }
    })?;
    let line = exchange(&stream, question).map_err(AskError::NoAnswer)?;
    serde_json::from_str(&line).map_err(AskError::Strange)
}

fn exchange(mut stream: &UnixStream, question: &Question) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("{}\n", serde_json::to_string(question)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}
