//! A guest's console: a person's way into the guest, for tests.
//!
//! In:  the pty that QEMU made for the guest's first serial port.
//! Out: what the guest printed; exit codes of commands typed there.
//!
//! Invariant: no wait without a deadline; an ended guest is an error, not silence.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Doing, LabError, Result};
use crate::programs::Ran;

/// How much of the console a failure shows.
const SHOWN: usize = 600;

/// Ctrl-C.
const INTERRUPT: &[u8] = b"\x03";

/// An open console.
#[derive(Debug)]
pub(super) struct Console {
    tty: File,
    guest: String,
    /// What the guest printed and nobody took yet.
    seen: Vec<u8>,
    commands: u32,
}

impl Console {
    /// Opens the console; QEMU drops what a guest prints while nobody has it open.
    pub(super) fn open(guest: &str, tty: &Path) -> Result<Self> {
        let opened = OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY | O_NONBLOCK).open(tty);
        Ok(Self {
            tty: opened.doing(format!("open {guest}'s console {}", tty.display()))?,
            guest: guest.to_owned(),
            seen: Vec::new(),
            commands: 0,
        })
    }

    /// Waits for the shell: for its greeting if it comes, for its answer if it came before the console was open.
    pub(super) fn wait_for_shell(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        self.type_line("echo fence-lab: $(uname -n) is up", deadline)?;
        let greeting = format!("fence-lab: {} is up", self.guest);
        self.take_until(&greeting, deadline, patience).map(drop)
    }

    /// Runs one command line in the guest's shell.
    pub(super) fn run(&mut self, command: &str, patience: Duration) -> Result<Ran> {
        let deadline = Instant::now() + patience;
        self.commands += 1;
        let number = self.commands;
        // the shell's echo of this line must not look like the marks, so they are put together by printf
        let line = format!("printf '<%s {number}>\\n' begin; {command}; printf '<%s {number}:%d>\\n' end $?");
        self.type_line(&line, deadline)?;
        self.take_until(&format!("<begin {number}>\r\n"), deadline, patience)?;
        let output = self.take_until(&format!("<end {number}:"), deadline, patience).inspect_err(|_| {
            self.tty.write_all(INTERRUPT).ok(); // for the next command
        })?;
        let code = self.take_until(">", deadline, patience)?;
        Ok(Ran {
            exit_code: code.parse().unwrap_or(-1),
            output: output.replace("\r\n", "\n"),
            errors: String::new(),
        })
    }

    fn type_line(&mut self, line: &str, deadline: Instant) -> Result<()> {
        let bytes = format!("{line}\n").into_bytes();
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            match self.tty.write(left) {
                Ok(length) => left = left.get(length..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !self.ready(PollFlags::POLLOUT, deadline)? {
                        return Err(self.timed_out("its console to take input", Duration::ZERO));
                    }
                }
                Err(error) => return Err(error).doing(format!("type on {}'s console", self.guest)),
            }
        }
        Ok(())
    }

    /// Everything up to `mark`, which is taken away too.
    fn take_until(&mut self, mark: &str, deadline: Instant, patience: Duration) -> Result<String> {
        loop {
            let found = self.seen.windows(mark.len()).position(|part| part == mark.as_bytes());
            if let Some(position) = found {
                let taken: Vec<u8> = self.seen.drain(..position + mark.len()).collect();
                let before = taken.get(..position).unwrap_or_default();
                return Ok(String::from_utf8_lossy(before).into_owned());
            }
            if !self.ready(PollFlags::POLLIN, deadline)? {
                return Err(self.timed_out(mark, patience));
            }
            self.read_more(mark)?;
        }
    }

    fn read_more(&mut self, awaited: &str) -> Result<()> {
        let mut chunk = [0; 4096];
        match self.tty.read(&mut chunk) {
            Ok(length) if length > 0 => {
                self.seen.extend(chunk.iter().take(length));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            _ => Err(LabError::Ended {
                who: format!("the guest {}", self.guest),
                awaited: awaited.trim().to_owned(),
                last_seen: self.last_seen(),
            }),
        }
    }

    fn ready(&self, events: PollFlags, deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut tty = [PollFd::new(self.tty.as_fd(), events)];
        poll(&mut tty, timeout).map(|ready| ready > 0).doing(format!("wait for {}'s console", self.guest))
    }

    fn timed_out(&self, awaited: &str, waited: Duration) -> LabError {
        LabError::TimedOut {
            waited,
            awaited: format!("{:?} from the guest {}", awaited.trim(), self.guest),
            last_seen: self.last_seen(),
        }
    }

    fn last_seen(&self) -> String {
        let start = self.seen.len().saturating_sub(SHOWN);
        String::from_utf8_lossy(self.seen.get(start..).unwrap_or_default()).into_owned()
    }
}
