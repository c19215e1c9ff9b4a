//! One program's connection.
//!
//! In:  its bytes, lines for it. Out: its [`Question`]s; the lines written to it.
//!
//! Invariant: bounded memory and work: it is read so often and not more, and one that does not read its answers loses
//! its connection.

use std::time::Duration;

use fence_vmchannel_protocol::{
    Body, Decoder, Frame, Reason, Reply, Request, RequestId, Verdict, encode_line,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::bucket::Bucket;
use super::desk::{ProgramId, Question};

/// Reads in a second, and at once.
const READS: (u32, u32) = (200, 400);
/// Bytes of one read.
const CHUNK: usize = 4096;
/// How long a program may take to read a line.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How often a program hears that its bytes are noise.
const NOISE_EVERY: Duration = Duration::from_secs(1);

/// What a program said, to the broker.
pub(super) type Words = mpsc::Sender<(ProgramId, Question)>;

/// A program's connection.
pub(super) struct Program {
    pub(super) id: ProgramId,
    pub(super) stream: UnixStream,
    /// What is to be written to it; its end is the end of the connection.
    pub(super) lines: mpsc::Receiver<Vec<u8>>,
    pub(super) words: Words,
}

/// What came of one wait.
enum Event {
    Line(Option<Vec<u8>>),
    Bytes(usize),
    Time,
}

impl Program {
    /// Serves it until it leaves, does not read, or has to ask again.
    pub(super) async fn attend(mut self) -> ProgramId {
        let (mut decoder, mut reads) = (Decoder::default(), Bucket::new(READS, Instant::now()));
        let mut noise_told = None;
        let (mut chunk, mut taken, mut filled) = ([0; CHUNK], 0, 0);
        loop {
            let mut rest = chunk.get(taken..filled).unwrap_or_default();
            // What waits for it is written before anything more of it is taken.
            let is_idle = self.lines.is_empty() && !self.lines.is_closed();
            if is_idle && !rest.is_empty() {
                let frame = decoder.push(&mut rest);
                taken = filled - rest.len();
                if let Some(frame) = frame
                    && !self.take(frame, &mut noise_told).await
                {
                    return self.id;
                }
                continue;
            }
            let (now, may_read) = (Instant::now(), reads.ready_at(0));
            let event = tokio::select! {
                biased;
                line = self.lines.recv() => Event::Line(line),
                count = self.stream.read(&mut chunk), if may_read <= now => Event::Bytes(count.unwrap_or(0)),
                () = sleep_until(may_read), if may_read > now => Event::Time,
            };
            match event {
                Event::Line(Some(line)) if self.write(&line).await => {}
                Event::Line(_) | Event::Bytes(0) => return self.id,
                Event::Bytes(count) => {
                    reads.take(now);
                    (taken, filled) = (0, count);
                }
                Event::Time => {}
            }
        }
    }

    /// One thing that it said; false when it is gone.
    async fn take(&mut self, frame: Frame, noise_told: &mut Option<Instant>) -> bool {
        let (json, signed) = match frame {
            Frame::Plain(json) => (json, None),
            Frame::Signed(line) => (line.unopened().to_vec(), Some(line.to_line())),
            Frame::Noise(_) if noise_told.is_some_and(|told: Instant| told.elapsed() < NOISE_EVERY) => {
                return true;
            }
            Frame::Noise(_) | Frame::Legacy(_) => {
                *noise_told = Some(Instant::now());
                return self.decline(RequestId::NONE, Verdict::refused(Reason::BadFrame)).await;
            }
        };
        match Request::parse(&json) {
            Ok(request) => self.words.send((self.id, Question { request, signed })).await.is_ok(),
            Err(error) => {
                let verdict = Verdict { detail: Some(error.what), ..Verdict::refused(Reason::BadRequest) };
                self.decline(error.id, verdict).await
            }
        }
    }

    async fn decline(&mut self, id: RequestId, verdict: Verdict) -> bool {
        match encode_line(&Reply { id, body: Body::Verdict(verdict) }) {
            Ok(line) => self.write(&line).await,
            Err(_) => false,
        }
    }

    async fn write(&mut self, line: &[u8]) -> bool {
        matches!(timeout(WRITE_PATIENCE, self.stream.write_all(line)).await, Ok(Ok(())))
    }
}
