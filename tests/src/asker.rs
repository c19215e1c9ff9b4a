//! Askers: processes that the agent takes for the QEMU of a domain, so that a test can ask from its own thread.
//!
//! In:  a lab with an agent. Out: an [`Asker`], whose connection the test holds: an [`Answer`] is there at the very moment
//!      at which a guest would have it.
//!
//! The agent listens to a domain's own QEMU only: the pid that libvirt's pid file names, with the domain's UUID after
//! `-uuid` in its arguments. Only root can write that file, so a test can. A small process connects, and the test takes
//! a copy of its descriptor: whose the connection is, is decided by who connected.
//!
//! Invariant: the domain itself never runs; an asker that is dropped is gone.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{
    Ask, Body, Method, Phase, Power, PowerState, Request, RequestId, Ruling, Verdict,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::error::{Doing, LabError, Result};
use crate::guest::{Channel, Guest};
use crate::lab::Lab;
use crate::peer::Peer;
use crate::programs;

/// Until the agent has made the domain's socket.
const SOCKET: Duration = Duration::from_secs(10);
/// Between two attempts to connect.
const KNOCK: Duration = Duration::from_millis(2);
/// A verdict that comes later than the request's own time, by so much, is lost.
const LATE: Duration = Duration::from_secs(5);

/// Somebody who may ask the agent.
#[derive(Debug)]
pub struct Asker<'lab> {
    process: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    peer: Peer,
    pid_file: PathBuf,
    lab: &'lab Lab,
    domain: Guest<'lab>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its verdict.
    pub verdict: Verdict,
    /// What was told before, and how long after the question each was heard.
    pub progress: Vec<(Phase, Duration)>,
    /// From the question to the verdict.
    pub took: Duration,
}

impl Answer {
    /// Whether it says that the target was seen off.
    #[must_use]
    pub fn says_off(&self) -> bool {
        self.verdict.state == Some(PowerState::Off) || self.verdict.evidence.is_some()
    }

    /// Whether it was done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.verdict.ruling == Ruling::Done
    }
}

impl<'lab> Asker<'lab> {
    /// Defines a domain of this cluster and connects in its name. The agent must run.
    ///
    /// # Errors
    /// When libvirt refuses the domain, or the agent does not let the asker in.
    pub fn in_cluster(lab: &'lab Lab, name: &str, cluster: &str) -> Result<Self> {
        let domain =
            Guest::named(name).in_cluster(cluster).with(Channel::VirtioConnect).cheap().define(lab)?;
        let mut process = Command::new(programs::ours("fence-vmchannel-asker")?)
            .args(["-uuid", domain.uuid()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing("start an asker")?;
        let words = process.stdin.take();
        let answers = process.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe);
        let mut answers = BufReader::new(answers.doing("hear an asker")?);
        let pid_file = lab.path(&format!("/run/libvirt/qemu/{name}.pid"));
        fs::write(&pid_file, process.id().to_string()).doing(format!("write {}", pid_file.display()))?;
        let mut words = words;
        let peer = connect(lab, &domain, process.id(), &mut words, &mut answers)?;
        let mut asker = Self { process, words, answers, peer, pid_file, lab, domain };
        asker.introduce()?;
        Ok(asker)
    }

    /// Connects anew, as QEMU does when the agent was away.
    ///
    /// # Errors
    /// When the agent does not let the asker in.
    pub fn reconnect(&mut self) -> Result<()> {
        let pid = self.process.id();
        self.peer = connect(self.lab, &self.domain, pid, &mut self.words, &mut self.answers)?;
        self.introduce()
    }

    /// Its domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.domain.name()
    }

    /// Its connection.
    pub fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    /// Asks for a change of the guest's power and waits for the verdict.
    ///
    /// # Errors
    /// When no verdict comes: it is lost.
    pub fn power(&mut self, power: Power, guest: &Guest<'_>, timeout: Duration) -> Result<Answer> {
        self.ask(&request(Ask::Power(power, target(guest)?), timeout)?)
    }

    /// Asks for the guest's state.
    ///
    /// # Errors
    /// When no verdict comes.
    pub fn status(&mut self, guest: &Guest<'_>, timeout: Duration) -> Result<Answer> {
        self.ask(&request(Ask::Status(target(guest)?), timeout)?)
    }

    /// Asks and waits for the verdict.
    ///
    /// # Errors
    /// When no verdict comes: it is lost.
    pub fn ask(&mut self, request: &Request) -> Result<Answer> {
        let begun = Instant::now();
        self.peer.say(request)?;
        let deadline = begun + request.delay + request.timeout + LATE;
        let mut progress = Vec::new();
        loop {
            match self.peer.hear(request.id, deadline)?.body {
                Body::Progress(phase, _) => progress.push((phase, begun.elapsed())),
                Body::Verdict(verdict) => return Ok(Answer { verdict, progress, took: begun.elapsed() }),
                Body::Items(..) | Body::Hello(_) | Body::Whoami(_) | Body::HostStatus(_) => {}
            }
        }
    }

    /// Waits until the agent knows the asker.
    fn introduce(&mut self) -> Result<()> {
        let whoami = request(Ask::Whoami, SOCKET)?;
        self.peer.ask(&whoami, SOCKET).map(drop)
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        drop(self.words.take()); // it ends with its stdin
        self.process.wait().ok();
        fs::remove_file(&self.pid_file).ok();
    }
}

/// A request with a random id.
///
/// # Errors
/// When the system has no random numbers.
pub fn request(ask: Ask, timeout: Duration) -> Result<Request> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").doing("make a request's id")?;
    let id = uuid.trim().replace('-', "").parse::<RequestId>().map_err(std::io::Error::other);
    let id = id.doing("make a request's id")?;
    Ok(Request { id, ask, timeout, delay: Duration::ZERO, method: Method::default() })
}

/// The guest as a target, by its name, as clusters name it.
///
/// # Errors
/// When that is no name.
pub fn target(guest: &Guest<'_>) -> Result<fence_vmchannel_protocol::Target> {
    guest.name().parse().map_err(std::io::Error::other).doing("name a target")
}

fn connect(
    lab: &Lab,
    domain: &Guest<'_>,
    pid: u32,
    words: &mut Option<ChildStdin>,
    answers: &mut BufReader<ChildStdout>,
) -> Result<Peer> {
    let socket = lab.inside(&format!("/run/fence-vmchannel/guests/{}.sock", domain.uuid()));
    let deadline = Instant::now() + SOCKET;
    loop {
        let words = words.as_mut().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let words = words.doing("speak to an asker")?;
        writeln!(words, "{}", socket.display()).doing("speak to an asker")?;
        let mut answer = String::new();
        answers.read_line(&mut answer).doing("hear an asker")?;
        if let Ok(number) = answer.trim().parse() {
            return Ok(Peer::over(UnixStream::from(copy(pid, number)?)));
        }
        if Instant::now() > deadline {
            return Err(LabError::TimedOut {
                waited: SOCKET,
                awaited: format!("the agent at {}", socket.display()),
                last_seen: answer,
            });
        }
        thread::sleep(KNOCK); // the agent is just making the socket, and there is no event of that
    }
}

/// A copy of another process's descriptor.
fn copy(pid: u32, number: i32) -> Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidInput);
    let process = pidfd_open(pid.doing("use an asker's pid")?, PidfdFlags::empty()).doing("hold an asker")?;
    pidfd_getfd(process, number, PidfdGetfdFlags::empty()).doing("take an asker's connection")
}
