//! Those who ask the agent: each a process of its own, which the agent takes for the QEMU of a domain that is never started.
//!
//! In:  questions. Out: final replies and the time until they came.
//!
//! The agent listens to a domain's own QEMU only: the pid that libvirt's pid file names, with the domain's UUID after
//! `-uuid` in its command line. Only root can write that file; so the bench writes it, and starts `fence-vmchannel-bench-guest`
//! with the UUID as its argument.
//!
//! Invariant: nobody asks faster than the agent listens (20 requests a second on each channel, then it reads later), so
//! that no figure holds a wait for the next turn.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Body, Frame, Reply, Ruling, Verdict, encode_line};
use fence_vmchannel_tests::Lab;
use fence_vmchannel_tests::programs::ours;

use crate::error::{Result, unexpected};
use crate::misbehaviour::Kind;
use crate::words::{frame, request};

/// The cluster of everybody in the bench.
pub(crate) const CLUSTER: &str = "bench";
const PROGRAM: &str = "fence-vmchannel-bench-guest";
/// A little longer than a twentieth of a second.
pub(crate) const TURN: Duration = Duration::from_millis(55);

/// A domain that is defined and never started, for a process of ours.
pub(crate) struct Disguise {
    pub(crate) name: String,
    pub(crate) uuid: String,
    cluster: String,
}

/// One asker and its process, which ends with it.
pub(crate) struct Asker {
    process: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    next_turn: Instant,
}

/// A process that only connects, or misbehaves; it ends with this.
pub(crate) struct Stranger {
    process: Child,
    gate: Option<ChildStdin>,
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

impl Disguise {
    pub(crate) fn new(name: String) -> Result<Self> {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        Ok(Self { name, uuid, cluster: CLUSTER.to_owned() })
    }

    /// A member of another cluster.
    pub(crate) fn of(mut self, cluster: String) -> Self {
        self.cluster = cluster;
        self
    }

    /// For libvirt to define.
    pub(crate) fn xml(&self) -> String {
        let Self { name, uuid, cluster } = self;
        format!(
            "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>\
             <metadata><fence:member xmlns:fence='urn:fence-vmchannel:1' cluster='{cluster}'/></metadata>\
             <memory unit='MiB'>16</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>\
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><channel type='unix'>\
             <source mode='connect' path='/run/fence-vmchannel/guests/{uuid}.sock'/>\
             <target type='virtio' name='org.fence_vmchannel.0'/></channel></devices></domain>"
        )
    }

    /// The agent's socket, as seen from outside the lab.
    pub(crate) fn socket(&self, lab: &Lab) -> std::path::PathBuf {
        lab.path(&format!("/run/fence-vmchannel/guests/{}.sock", self.uuid))
    }

    /// A process in this disguise that can be asked to ask.
    pub(crate) fn asker(&self, lab: &Lab) -> Result<Asker> {
        let mut process = self.process()?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let words = process.stdin.take();
        let answers = process.stdout.take().ok_or_else(|| unexpected("an asker has no stdout"))?;
        self.wear(lab, &process)?;
        Ok(Asker { process, words, answers: BufReader::new(answers), next_turn: Instant::now() })
    }

    /// A process that connects when a byte comes through the gate, and then says nothing.
    pub(crate) fn silent(&self, lab: &Lab, gate: Stdio) -> Result<Stranger> {
        let process = self.process()?.arg("-silent").arg(self.socket(lab)).stdin(gate).spawn()?;
        self.wear(lab, &process)?;
        Ok(Stranger { process, gate: None })
    }

    /// A process that misbehaves from [`Stranger::begin`] on.
    pub(crate) fn attacker(&self, lab: &Lab, kind: Kind) -> Result<Stranger> {
        // a guest has a processor of its own; here it gets what the daemon leaves
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(ours(PROGRAM)?).args(["-uuid", &self.uuid, "-attack", kind.name()]);
        command.arg(self.socket(lab)).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let gate = process.stdin.take();
        self.wear(lab, &process)?;
        Ok(Stranger { process, gate })
    }

    fn process(&self) -> Result<Command> {
        let mut command = Command::new(ours(PROGRAM)?);
        command.args(["-uuid", &self.uuid]).stderr(Stdio::null());
        Ok(command)
    }

    fn wear(&self, lab: &Lab, process: &Child) -> Result<()> {
        let file = lab.path(&format!("/run/libvirt/qemu/{}.pid", self.name));
        Ok(fs::write(file, process.id().to_string())?)
    }
}

impl Asker {
    /// Connects to the agent's socket, which must be there.
    pub(crate) fn connect(&mut self, lab: &Lab, disguise: &Disguise) -> Result<()> {
        self.tell(format!("{}\n", disguise.socket(lab).display()).as_bytes())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for its turn, then asks and waits for the final reply.
    pub(crate) fn ask(&mut self, ask: Ask) -> Result<Answer> {
        let line = encode_line(&request(ask)?).map_err(unexpected)?;
        sleep(self.next_turn.saturating_duration_since(Instant::now()));
        self.next_turn = Instant::now() + TURN;
        self.tell(&line)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        heard(answer.trim_end()).ok_or_else(|| unexpected(format!("an asker has no answer: {answer:?}")))
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

impl Stranger {
    /// Opens its own gate.
    pub(crate) fn begin(&mut self) -> Result<()> {
        let gate = self.gate.as_mut().ok_or_else(|| unexpected("this process shares its gate"))?;
        Ok(gate.write_all(b"!")?)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.process.kill().ok();
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
