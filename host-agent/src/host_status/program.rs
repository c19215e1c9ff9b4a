//! Runs a program of the administrator's for what it prints.
//!
//! In:  its words and how long it may take. Out: what it printed, if it ended well.
//!
//! Invariant: no shell; the program and all processes of its group are gone when this returns, and its group is killed
//! before it is reaped, so that nobody else is ever hit. A program that cannot be killed holds up its own attribute alone.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::time::timeout;

/// Bytes of output, and of a file.
pub(super) const OUTPUT_BYTES: u64 = 256 * 1024;
/// Where programs look for others.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("cannot be run: {0}")]
    Start(#[from] io::Error),
    #[error("did not end within {} s and was killed", .0.as_secs())]
    Late(Duration),
    #[error("printed more than {OUTPUT_BYTES} bytes and was killed")]
    TooLong,
    #[error("ended with {0}")]
    Ended(ExitStatus),
    #[error("printed what is not UTF-8")]
    NotText,
}

/// What this program prints.
pub(super) async fn output(words: &[String], patience: Duration) -> Result<String, ProgramError> {
    let (program, arguments) = words.split_first().ok_or(io::Error::from(io::ErrorKind::NotFound))?;
    let (write, mut read) = pipe::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
    command.stdin(Stdio::null()).stdout(write.into_blocking_fd()?).stderr(Stdio::null()).process_group(0);
    let mut running = Running::start(command)?;

    let mut bytes = Vec::new();
    let reading = async {
        let count = (&mut read).take(OUTPUT_BYTES + 1).read_to_end(&mut bytes).await;
        if count.is_ok_and(|count| count as u64 > OUTPUT_BYTES) {
            running.kill();
        }
    };
    let ending = async {
        running.ended().await;
        running.kill(); // its children, who may hold the pipe
    };
    let in_time = timeout(patience, async { tokio::join!(reading, ending) }).await.is_ok();
    running.kill();
    running.ended().await;
    let status = running.reap()?;
    match () {
        () if bytes.len() as u64 > OUTPUT_BYTES => Err(ProgramError::TooLong),
        () if !in_time => Err(ProgramError::Late(patience)),
        () if !status.success() => Err(ProgramError::Ended(status)),
        () => String::from_utf8(bytes).map_err(|_| ProgramError::NotText),
    }
}

/// A program that was not reaped yet: its pid, and so its group's number, is its own.
struct Running {
    child: Child,
    pidfd: AsyncFd<OwnedFd>,
    reaped: bool,
}

impl Running {
    #[expect(deprecated, reason = "sound with an OwnedFd; its successor is unsafe")]
    fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let held = || {
            let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            AsyncFd::with_interest(pidfd, Interest::READABLE)
        };
        match held() {
            Ok(pidfd) => Ok(Self { child, pidfd, reaped: false }),
            Err(error) => {
                kill_group(&child);
                child.wait()?; // no descriptor left for waiting otherwise
                Err(error)
            }
        }
    }

    /// Waits for its end; it stays a zombie.
    async fn ended(&self) {
        // An error of the runtime: there is nothing left to wait with, and reaping waits anyway.
        let _ended = self.pidfd.readable().await;
    }

    /// Kills it and its children.
    fn kill(&self) {
        if !self.reaped {
            kill_group(&self.child);
        }
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Running {
    /// The agent stops meanwhile.
    fn drop(&mut self) {
        self.kill();
        if !self.reaped {
            let _reaped_if_gone = self.child.try_wait();
        }
    }
}

fn kill_group(leader: &Child) {
    if let Ok(pid) = i32::try_from(leader.id()) {
        // It can only fail where nobody of the group is left.
        let _gone = killpg(unistd::Pid::from_raw(pid), Signal::SIGKILL);
    }
}
