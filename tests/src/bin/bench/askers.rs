//! Those who ask: each a process of its own, which the agent takes for the QEMU of a domain that is never started.
//!
//! In:  questions. Out: final replies and the time until they came.
//!
//! The agent listens to a domain's own QEMU only: the pid that libvirt's pid file names, with the domain's UUID after
//! `-uuid` in its command line. Only root can write that file; so the bench writes it, and starts itself again with the
//! UUID as its argument ([`crate::speaker`]).
//!
//! Invariant: nobody asks faster than the agent listens (20 requests a second on each channel, then it reads later), so
//! that no figure holds a wait for the next turn.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{
    Ask, Body, Frame, Method, Reply, Request, RequestId, Ruling, Verdict, encode_line,
};
use fence_vmchannel_tests::Lab;

use crate::error::{Result, unexpected};
use crate::speaker::frame;

/// As many as ask at the same time in the largest round.
pub(crate) const ASKERS: usize = 20;
/// Longer than any verdict takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(55);
/// A little longer than a twentieth of a second.
const TURN: Duration = Duration::from_millis(55);

/// One asker and its process, which ends with it.
pub(crate) struct Asker {
    pub(crate) name: String,
    pub(crate) uuid: String,
    process: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    next_turn: Instant,
}

/// The end of a conversation.
pub(crate) struct Answer {
    /// The final reply.
    pub(crate) body: Body,
    /// Targets listed in all its parts.
    pub(crate) listed: usize,
    /// From the first byte sent to the last one understood.
    pub(crate) took: Duration,
}

impl Answer {
    /// Its verdict, if it says done.
    pub(crate) fn done(&self) -> Result<&Verdict> {
        let Body::Verdict(verdict) = &self.body else { return Err(unexpected("the reply is no verdict")) };
        match verdict.ruling {
            Ruling::Done => Ok(verdict),
            Ruling::Refused(_) | Ruling::Failed(_) => Err(unexpected(format!("not done: {verdict:?}"))),
        }
    }
}

impl Asker {
    /// Starts the process and declares it to be that of the domain, which is still to be defined.
    pub(crate) fn start(lab: &Lab, number: usize) -> Result<Self> {
        let (name, uuid) = (format!("asker{number:02}"), random_uuid()?);
        let mut process = Command::new(env::current_exe()?);
        process.args(["-uuid", &uuid]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = process.spawn()?;
        let words = process.stdin.take();
        let answers = process.stdout.take().ok_or_else(|| unexpected("an asker has no stdout"))?;
        fs::write(lab.path(&format!("/run/libvirt/qemu/{name}.pid")), process.id().to_string())?;
        Ok(Self { name, uuid, process, words, answers: BufReader::new(answers), next_turn: Instant::now() })
    }

    /// Connects to the agent's socket, which must be there.
    pub(crate) fn connect(&mut self, lab: &Lab) -> Result<()> {
        let socket = lab.path(&format!("/run/fence-vmchannel/guests/{}.sock", self.uuid));
        self.tell(format!("{}\n", socket.display()).as_bytes())
    }

    /// Waits for its turn, then asks and waits for the final reply.
    pub(crate) fn ask(&mut self, ask: Ask) -> Result<Answer> {
        let id = random_uuid()?.replace('-', "").parse::<RequestId>().map_err(unexpected)?;
        let request =
            Request { id, ask, timeout: PATIENCE, delay: Duration::ZERO, method: Method::default() };
        let line = encode_line(&request).map_err(unexpected)?;
        sleep(self.next_turn.saturating_duration_since(Instant::now()));
        self.next_turn = Instant::now() + TURN;
        self.tell(&line)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        heard(answer.trim_end()).ok_or_else(|| unexpected(format!("{} has no answer: {answer:?}", self.name)))
    }

    fn tell(&mut self, line: &[u8]) -> Result<()> {
        let words = self.words.as_mut().ok_or_else(|| unexpected("an asker has no stdin"))?;
        Ok(words.write_all(line)?)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        drop(self.words.take()); // it ends with its stdin
        self.process.wait().ok();
    }
}

fn heard(line: &str) -> Option<Answer> {
    let mut words = line.splitn(3, ' ');
    let took = Duration::from_nanos(words.next()?.parse().ok()?);
    let listed = words.next()?.parse().ok()?;
    let Some(Frame::Plain(json)) = frame(words.next()?) else { return None };
    Some(Answer { body: Reply::parse(&json).ok()?.body, listed, took })
}

fn random_uuid() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}
