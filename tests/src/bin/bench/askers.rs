//! Those who ask: this process, as the QEMU of domains that are never started.
//!
//! In:  UUIDs after `-uuid` in the command line. Out: final replies and the time until they came.
//!
//! Invariant: nobody asks faster than the agent listens (20 requests a second on each channel, then it reads later), so
//! that no figure holds a wait for the next turn.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{
    Ask, Body, Decoder, Frame, Method, Reply, Request, RequestId, Ruling, Verdict, encode_line,
};
use fence_vmchannel_tests::Lab;

use crate::error::{Result, unexpected};

/// As many as ask at the same time in the largest round.
pub(crate) const ASKERS: usize = 20;
/// A little longer than a twentieth of a second.
const TURN: Duration = Duration::from_millis(55);
const PATIENCE: Duration = Duration::from_secs(55);

/// The UUIDs in this process's command line.
pub(crate) fn identities(words: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let words: Vec<String> = words.skip(1).collect();
    let pairs = words.chunks(2).map(|pair| match pair {
        [flag, uuid] if flag == "-uuid" => Ok(uuid.clone()),
        _ => Err(unexpected(format!("{pair:?}: this program takes no arguments but its own"))),
    });
    pairs.collect()
}

/// A command line with UUIDs for all askers.
pub(crate) fn new_identities() -> Result<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..ASKERS {
        words.extend(["-uuid".to_owned(), random_uuid()?]);
    }
    Ok(words)
}

fn random_uuid() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

/// One asker and its channel.
pub(crate) struct Asker {
    stream: UnixStream,
    decoder: Decoder,
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
    pub(crate) fn connect(lab: &Lab, uuid: &str) -> Result<Self> {
        let stream = UnixStream::connect(lab.path(&format!("/run/fence-vmchannel/guests/{uuid}.sock")))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, decoder: Decoder::default(), next_turn: Instant::now() })
    }

    /// Waits for its turn, then asks and waits for the final reply.
    pub(crate) fn ask(&mut self, ask: Ask) -> Result<Answer> {
        let id = random_uuid()?.replace('-', "").parse::<RequestId>().map_err(unexpected)?;
        let request =
            Request { id, ask, timeout: PATIENCE, delay: Duration::ZERO, method: Method::default() };
        let line = encode_line(&request).map_err(unexpected)?;
        sleep(self.next_turn.saturating_duration_since(Instant::now()));
        let begun = Instant::now();
        self.next_turn = begun + TURN;
        self.stream.write_all(&line)?;
        let mut listed = 0;
        loop {
            let mut chunk = [0; 4096];
            let length = self.stream.read(&mut chunk)?;
            if length == 0 {
                return Err(unexpected("the agent closed an asker's connection; see its log"));
            }
            let mut rest = chunk.get(..length).unwrap_or_default();
            while let Some(frame) = self.decoder.push(&mut rest) {
                let Frame::Plain(json) = frame else { continue };
                let reply = Reply::parse(&json).map_err(unexpected)?;
                if let Body::Items(items, _) = &reply.body {
                    listed += items.len();
                }
                if reply.id == id && reply.is_final() {
                    return Ok(Answer { body: reply.body, listed, took: begun.elapsed() });
                }
            }
        }
    }
}
