//! What a process holds, and what it does while nobody asks.
//!
//! In:  a pid. Out: [`Held`]; also that of a process which does nothing but hold a connection to libvirt: it has the same
//! libraries.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write, stdin, stdout};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;
use virt::connect::Connect;

use crate::error::{Result, unexpected};

/// This program's argument before the URI for [`hold_a_connection`].
pub(crate) const CONNECTED: &str = "-connected";

/// What a process holds; memory in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) resident: usize,
    /// Belongs to this process alone.
    pub(crate) anonymous: usize,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// On a core, since its start.
    pub(crate) ran: Duration,
}

impl Held {
    pub(crate) fn by(pid: u32) -> Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kib = |key: &str| {
            let number = rollup.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
            number
                .and_then(|number| number.parse().ok())
                .ok_or_else(|| unexpected(format!("smaps has no {key}")))
        };
        Ok(Self {
            resident: kib("Rss:")?,
            anonymous: kib("Anonymous:")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            threads: fs::read_dir(format!("/proc/{pid}/task"))?.count(),
            ran: processor_time(pid)?,
        })
    }

    /// By a process of this program that only holds a connection and has listed all domains.
    pub(crate) fn by_a_connection(uri: &str) -> Result<Self> {
        let mut holder = Command::new(env::current_exe()?);
        holder.args([CONNECTED, uri]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = holder.spawn()?;
        let words = holder.stdin.take();
        let said = holder.stdout.take().ok_or_else(|| unexpected("a connection's holder has no stdout"))?;
        let connected = BufReader::new(said).lines().next().transpose()?;
        let held =
            connected.ok_or_else(|| unexpected("no second connection")).and_then(|_| Self::by(holder.id()));
        drop(words);
        holder.wait()?;
        held
    }
}

/// Connects to libvirt, lists its domains, says so, and holds the connection until stdin ends.
pub(crate) fn hold_a_connection(uri: &str) -> Result<()> {
    let connect = Connect::open(Some(uri))?;
    let domains = connect.list_all_domains(0)?;
    writeln!(stdout(), "{}", domains.len())?;
    stdin().read_to_string(&mut String::new())?;
    Ok(())
}

/// The time that a process, all its threads of then and now, has been running on a core.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed())).map_err(io::Error::from)?;
    Ok(clock.now().map_err(io::Error::from)?.into())
}

/// The part of a core that a process takes in the next `span`.
pub(crate) fn load(pid: u32, span: Duration) -> Result<f64> {
    let before = processor_time(pid)?;
    sleep(span);
    Ok((processor_time(pid)? - before).as_secs_f64() / span.as_secs_f64())
}
