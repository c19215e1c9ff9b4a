//! What a process holds.
//!
//! In:  a pid. Out: [`Held`]; also that of a process which does nothing but hold a connection to libvirt: it has the same
//! libraries.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::process::{Command, Stdio};

use fence_vmchannel_tests::Lab;
use virt::connect::Connect;

use crate::error::{Result, unexpected};
use crate::stage::uri;

/// This program's argument before the URI for [`hold_a_connection`].
pub(crate) const CONNECTED: &str = "-connected";

/// What a process holds; memory in KiB.
pub(crate) struct Held {
    pub(crate) resident: usize,
    /// Shared pages divided by those who share them.
    pub(crate) proportional: usize,
    pub(crate) anonymous: usize,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
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
            proportional: kib("Pss:")?,
            anonymous: kib("Anonymous:")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            threads: fs::read_dir(format!("/proc/{pid}/task"))?.count(),
        })
    }

    /// By a process of this program that only holds a connection.
    pub(crate) fn by_a_connection(lab: &Lab) -> Result<Self> {
        let mut holder = Command::new(env::current_exe()?);
        holder.args([CONNECTED, &uri(lab)]).stdin(Stdio::piped()).stdout(Stdio::piped());
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
