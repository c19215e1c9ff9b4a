//! The supervisor: one process above everything in a lab, so that nothing of it can be left behind.
//!
//! In:  the lab's directory; then, on stdin, one word per line that says what to do with libvirtd.
//! Out: one line on stdout for each: `ok PID`, or `error REASON`; the first line is for the start itself.
//!
//! Invariant: when stdin ends or SIGTERM comes, everything in the lab is killed and its directory removed,
//! before this process ends. Children are reaped at once: libvirt polls until a dead QEMU's zombie is gone.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};

use super::clearing::{self, Bounds};
use super::rooms;
use crate::error::{Doing, LabError, Result};
use crate::programs::succeed;

/// Runs a lab in `directory` until stdin ends.
///
/// # Errors
/// When the lab cannot be made; the reason was also written to stdout.
pub fn run(directory: &Path) -> Result<()> {
    let bounds = Bounds::around(getppid())?;
    let ended = open(directory).and_then(|signals| serve(&signals));
    if let Err(error) = &ended {
        answer(&format!("error {error}")).ok();
    }
    clearing::clear(directory, &bounds)?;
    ended
}

fn open(directory: &Path) -> Result<SignalFd> {
    let awaited = await_signals()?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&awaited, flags).doing("open a signalfd")?;
    set_child_subreaper(true).doing("become the reaper of the lab")?;
    rooms::move_in(directory)?;
    let pid = start_libvirtd()?;
    answer(&format!("ok {pid}"))?;
    Ok(signals)
}

/// From here on the signals wait for the signalfd.
fn await_signals() -> Result<SigSet> {
    let mut awaited = SigSet::empty();
    awaited.add(Signal::SIGCHLD);
    awaited.add(Signal::SIGTERM);
    awaited.thread_block().doing("block signals")?;
    Ok(awaited)
}

fn serve(signals: &SignalFd) -> Result<()> {
    let mut commands = io::BufReader::new(io::stdin());
    loop {
        reap()?;
        let (spoken, signalled) = wait(signals)?;
        let told_to_end = signalled && terminated(signals)?;
        if told_to_end {
            return Ok(());
        }
        if spoken {
            let mut line = String::new();
            let length = commands.by_ref().take(100).read_line(&mut line);
            if length.doing("read a command")? == 0 {
                return Ok(());
            }
            match obey(line.trim()) {
                Ok(pid) => answer(&format!("ok {pid}"))?,
                Err(error) => answer(&format!("error {error}"))?,
            }
        }
    }
}

fn wait(signals: &SignalFd) -> Result<(bool, bool)> {
    let stdin = io::stdin();
    let mut sources =
        [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut sources, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).doing("wait for commands"),
    }
    let [spoken, signalled] = sources.map(|source| source.any().unwrap_or(false));
    Ok((spoken, signalled))
}

fn terminated(signals: &SignalFd) -> Result<bool> {
    let mut found = false;
    while let Some(signal) = signals.read_signal().doing("read a signal")? {
        found |= i32::try_from(signal.ssi_signo) == Ok(Signal::SIGTERM as i32);
    }
    Ok(found)
}

/// Takes every dead child away.
pub(super) fn reap() -> Result<()> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).doing("reap children"),
        }
    }
}

fn obey(command: &str) -> Result<Pid> {
    if command == "start" {
        return start_libvirtd();
    }
    let pid = libvirtd()?;
    let signal = match command {
        "pid" => return Ok(pid),
        "kill" => Signal::SIGKILL,
        "stop" => Signal::SIGSTOP,
        "cont" => Signal::SIGCONT,
        "hup" => Signal::SIGHUP,
        other => return Err(LabError::Supervisor(format!("no such command: {other}"))),
    };
    kill(pid, signal).doing(format!("send {signal} to libvirtd"))?;
    if signal == Signal::SIGKILL {
        waitpid(pid, None).doing("wait for libvirtd's end")?;
    }
    Ok(pid)
}

/// `libvirtd -d` returns when the daemon has its sockets; the daemon itself becomes our child.
fn start_libvirtd() -> Result<Pid> {
    SigSet::empty().thread_set_mask().doing("give libvirtd a clean signal mask")?;
    let started = succeed(Command::new("libvirtd").arg("-d"));
    await_signals()?;
    started.and_then(|_| libvirtd())
}

fn libvirtd() -> Result<Pid> {
    let file = "/run/libvirtd.pid";
    let text = fs::read_to_string(file).doing(format!("read {file}"))?;
    let pid = text.trim().parse().map_err(io::Error::other);
    let pid = Pid::from_raw(pid.doing(format!("read a pid from {file}"))?);
    kill(pid, None).doing("find libvirtd, which was started before")?;
    Ok(pid)
}

fn answer(line: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", line.replace('\n', " ")).and_then(|()| stdout.flush()).doing("answer the lab")
}
