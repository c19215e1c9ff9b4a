//! One guest's connection: bytes and deadlines.
//!
//! In:  a connected socket. Out: frames one by one; and lines back.
//!
//! Invariant: bounded memory and bounded work. At most one line and [`CHUNK`] bytes wait inwards and
//! [`OUT_BYTES`] outwards; a guest that asks much, or speaks in small pieces, is read in turn with the others that do, one that
//! asks more than it may is read later, not answered more; one that does not read its replies loses its connection.

pub mod board;
pub(crate) mod bucket;
mod connection;
pub mod door;
mod in_use;
mod limits;
pub mod lobby;
pub mod socket;
pub mod tend;
pub mod turns;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fence_vmchannel_protocol::{Decoder, Frame};
use futures_util::future::BoxFuture;
use tokio::io::ReadBuf;
use tokio::time::{Instant, sleep_until};

use limits::{DEAREST, ENOUGH, OF_A_FRAME, reads_worth};
use turns::Turns;

pub use connection::{Connection, Ended};
pub use limits::{Limits, READS, REQUESTS};

/// Bytes taken from the socket at once.
pub const CHUNK: usize = 4096;
/// Bytes that wait for a guest that does not read.
pub const OUT_BYTES: usize = 64 * 1024;
/// Bytes taken at once, and then so many more at a time as long as that is cheap, as with a line that came in one. Bytes that were written
/// one by one can take 10 us each, the next ones are written meanwhile, and they may follow cheap ones.
const PIECE: usize = 64;
const NEXT_PIECE: usize = 128;
/// As so many reads they may count before the next are taken, of a guest that asks little and waits for no turn; cold caches make them
/// count as two or three.
const CHEAP: u32 = 3;
/// The same in a guest's turn: more than half a millisecond is not taken from the others at a time.
const DEAR: u32 = DEAREST / 2;
/// How long after bytes that were no whole frame the next ones are read: what comes byte by byte, as over a serial port, is
/// gathered meanwhile, and uses up few reads.
const GATHER: Duration = Duration::from_millis(2);
/// Half a struct is given up when nothing more came for this long.
const SILENCE: Duration = Duration::from_secs(1);
/// How long replies may wait for a guest that does not read them.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// What a read came to.
struct Read {
    /// As so many reads it counts.
    worth: u32,
    /// Dear bytes are left.
    is_dear: bool,
}

/// How much is read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Most {
    OneByte,
    /// Until it counts as so many reads.
    Worth(u32),
}

/// A connection to one guest, over a socket or anything like one.
pub struct Channel<S> {
    stream: S,
    decoder: Decoder,
    inbox: Vec<u8>,
    taken: usize,
    /// Bytes since the last frame.
    unframed: usize,
    /// When bytes came last.
    heard_at: Instant,
    /// They were no whole frame, or dear and not all.
    is_midway: bool,
    /// They were the first byte of what waits for its turn.
    has_knocked: bool,
    /// What was asked last was a struct, whose answer does not end in a newline.
    in_structs: bool,
    /// The last question was one, whatever noise came since.
    awaits_code: bool,
    /// More bytes may wait to be read than were.
    is_unread: bool,
    outbox: Vec<u8>,
    /// Since when the guest has taken nothing of what waits for it.
    stuck_since: Option<Instant>,
    limits: Limits,
    /// The processor time that was used; none where nothing is to depend on it.
    used: fn() -> Duration,
    /// Until it may be heard again, if it asks much or is midway.
    turn: Option<BoxFuture<'static, ()>>,
}

/// What listening brought.
enum Heard {
    Frame(Frame),
    /// All that waited is written, or more has come, or no more: something else may be said.
    Room,
    /// Nothing more may be read now.
    Enough,
}

impl<S: Connection> Channel<S> {
    /// A channel on this connection.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self::within(Limits::default(), stream, || Duration::ZERO)
    }

    /// A channel of a guest that may ask so much yet, and that is read less often the more processor time its reads take, by this
    /// clock.
    #[must_use]
    pub fn within(limits: Limits, stream: S, used: fn() -> Duration) -> Self {
        Self {
            used,
            stream,
            decoder: Decoder::default(),
            inbox: Vec::new(),
            taken: 0,
            unframed: 0,
            heard_at: Instant::now(),
            is_midway: false,
            has_knocked: false,
            in_structs: false,
            awaits_code: false,
            is_unread: true,
            outbox: Vec::new(),
            stuck_since: None,
            limits,
            turn: None,
        }
    }

    /// The next frame; writes what waits meanwhile, and returns `None` when something else may be said than when it began. Cancel safe.
    pub async fn hear(&mut self, turns: &Turns) -> Result<Option<Frame>, Ended> {
        let was_heard_out = self.is_heard_out();
        loop {
            let now = Instant::now();
            let stuck = self.stuck_since.map(|since| since + WRITE_PATIENCE);
            if stuck.is_some_and(|stuck| stuck <= now) {
                return Err(Ended::NotReading);
            }
            let may_read = Some(self.may_read()).filter(|at| *at > now);
            let silent = self.silent_at().filter(|silent| *silent > now);
            let wake = may_read.into_iter().chain(stuck).chain(silent).min();
            tokio::select! {
                biased; // what came is taken before the time is looked at
                heard = poll_fn(|cx| {
                    let heard = self.poll_hear(turns, cx);
                    self.or_change(heard, was_heard_out)
                }) => match heard? {
                    Heard::Frame(frame) => return Ok(Some(frame)),
                    Heard::Room => return Ok(None),
                    Heard::Enough => {}
                },
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// What its guest may ask yet.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the guest reads its replies well enough to be sent more of a long answer.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Whether no byte of it waits to be understood, which may be of the next question.
    #[must_use]
    pub fn is_heard_out(&self) -> bool {
        !self.is_unread && self.inbox.is_empty() && !self.decoder.awaits_end()
    }

    /// Whether its QEMU has taken all that was said.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.outbox.is_empty() && self.stream.is_read()
    }

    /// Whether it drew on what it may ask at once: more was heard of it lately than of a guest that asks now and then.
    #[must_use]
    pub fn asks_much(&self) -> bool {
        self.limits.requests.is_drawn_on() || self.limits.reads.is_drawn_on()
    }

    /// Sends a line: it is written by the next [`Channel::hear`], as far as the guest reads.
    pub fn say_line(&mut self, line: &[u8]) -> Result<(), Ended> {
        if self.outbox.len() + line.len() > OUT_BYTES {
            return Err(Ended::NotReading);
        }
        self.outbox.extend_from_slice(line);
        self.stuck_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// When half a struct is given up; what waits to be read is no silence.
    fn silent_at(&self) -> Option<Instant> {
        let awaits = self.decoder.awaits_end() && self.inbox.is_empty();
        awaits.then(|| self.heard_at.max(self.may_read()) + SILENCE)
    }

    /// A line begins at a line's beginning, also after the answer to a struct.
    fn begin_line(&mut self, frame: &Frame) {
        let is_struct = matches!(frame, Frame::Legacy(_));
        if self.in_structs && !is_struct && self.outbox.len() < OUT_BYTES {
            self.outbox.push(b'\n');
            self.stuck_since.get_or_insert_with(Instant::now);
        }
        self.in_structs = is_struct;
        self.awaits_code = is_struct || self.awaits_code && matches!(frame, Frame::Noise(_));
    }

    fn may_read(&self) -> Instant {
        let allowed = self.limits.requests.ready_at().max(self.limits.reads.ready_at());
        if self.is_midway { allowed.max(self.heard_at + GATHER) } else { allowed }
    }

    /// The answer to a struct waits until its guest is heard out, also if it was before.
    fn or_change(
        &self,
        heard: Poll<Result<Heard, Ended>>,
        was_heard_out: bool,
    ) -> Poll<Result<Heard, Ended>> {
        let is_nothing = matches!(heard, Poll::Pending | Poll::Ready(Ok(Heard::Enough)));
        let has_changed = self.awaits_code && self.is_heard_out() != was_heard_out;
        if is_nothing && has_changed { Poll::Ready(Ok(Heard::Room)) } else { heard }
    }

    fn poll_hear(&mut self, turns: &Turns, cx: &mut Context<'_>) -> Poll<Result<Heard, Ended>> {
        if !self.outbox.is_empty()
            && let Poll::Ready(written) = self.poll_write(cx)
        {
            return Poll::Ready(written.map(|()| Heard::Room));
        }
        if self.may_read() > Instant::now() {
            return Poll::Pending;
        }
        let is_its_turn = self.turn.is_some();
        if let Some(turn) = &mut self.turn {
            ready!(turn.as_mut().poll(cx));
            self.turn = None;
        }
        let heard = if is_its_turn || !self.asks_much() {
            self.poll_frame(cx, Most::Worth(if is_its_turn { DEAR } else { CHEAP }))
        } else {
            self.poll_knock(cx)
        };
        // After bytes, never after a mere wake: that would wake for ever, with an answer's turn beside it.
        if heard.is_ready() && (self.asks_much() || self.is_midway) {
            self.turn = Some(turns.line_up());
        }
        heard
    }

    /// Whether anything comes of a guest whose turn was over before: its first byte tells, and waits for the next turn.
    fn poll_knock(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, Ended>> {
        if self.inbox.is_empty() {
            let read = ready!(self.poll_read_or_silence(cx, Most::OneByte))?;
            self.limits.reads.take_many(read.worth);
            self.has_knocked = true;
            self.is_midway = false; // what belongs to it is there, or comes before the turn does
        }
        Poll::Ready(Ok(Heard::Enough))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>, most: Most) -> Poll<Result<Heard, Ended>> {
        let waited = !self.inbox.is_empty();
        if let Some(frame) = self.next_frame() {
            return Poll::Ready(Ok(Heard::Frame(frame)));
        }
        let is_used_up = waited && self.inbox.is_empty();
        let may_read = !is_used_up || self.may_read() <= Instant::now();
        let read = if may_read { self.poll_read_or_silence(cx, most)? } else { Poll::Pending };
        if is_used_up && read.is_pending() {
            return Poll::Ready(Ok(Heard::Enough)); // it may have been half a struct
        }
        let Read { worth, is_dear } = ready!(read);
        let frame = self.next_frame();
        let has_knocked = std::mem::take(&mut self.has_knocked);
        let is_usual = frame.is_some() && worth <= OF_A_FRAME;
        self.limits.reads.take_many(if is_usual { u32::from(!has_knocked) } else { worth });
        self.is_midway = is_dear || frame.is_none();
        Poll::Ready(Ok(frame.map_or(Heard::Enough, Heard::Frame)))
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if self.inbox.is_empty() || self.limits.requests.ready_at() > Instant::now() {
            return None;
        }
        let mut rest = self.inbox.get(self.taken..).unwrap_or_default();
        let waiting = rest.len();
        let frame = self.decoder.push(&mut rest);
        self.unframed += waiting - rest.len();
        self.taken = self.inbox.len() - rest.len();
        if rest.is_empty() {
            (self.inbox, self.taken) = (Vec::new(), 0);
        }
        // A line's worth of bytes that come to nothing counts as much as a line.
        if frame.is_some() || self.unframed >= CHUNK {
            self.limits.requests.take();
            self.unframed = 0;
        }
        frame.inspect(|frame| self.begin_line(frame))
    }

    fn poll_read_or_silence(&mut self, cx: &mut Context<'_>, most: Most) -> Poll<Result<Read, Ended>> {
        let read = self.poll_read(cx, most);
        if read.is_pending() && self.silent_at().is_some_and(|silent| silent <= Instant::now()) {
            self.decoder.silence();
        }
        read
    }

    /// The bytes that came: one, or piece by piece until they have cost so much. By way of the stack: a guest that is silent costs
    /// no memory for what it might say.
    fn poll_read(&mut self, cx: &mut Context<'_>, most: Most) -> Poll<Result<Read, Ended>> {
        let (mut chunk, mut count) = ([0; CHUNK], 0);
        let before = (self.used)();
        let (mut piece, cost) = match most {
            Most::OneByte => (1, 0),
            Most::Worth(cost) => (PIECE, cost),
        };
        let (worth, is_dear) = loop {
            let room = chunk.get_mut(count..).unwrap_or_default();
            let until = piece.min(room.len());
            let mut part = ReadBuf::new(room.get_mut(..until).unwrap_or_default());
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut part);
            let came = part.filled().len();
            if count == 0 {
                self.is_unread = read.is_ready();
                ready!(read).map_err(Ended::of_read)?;
                if came == 0 {
                    return Poll::Ready(Err(Ended::Closed));
                }
            }
            count += came; // an error or an end after bytes is told again
            let worth = reads_worth((self.used)().saturating_sub(before));
            let may_be_more = most != Most::OneByte && came == until && count < CHUNK;
            if !may_be_more || worth > cost {
                break (worth, may_be_more);
            }
            piece = NEXT_PIECE;
        };
        let worth = match most {
            Most::OneByte => 1,
            Most::Worth(_) if is_dear => worth.max(ENOUGH), // the next ones wait for a turn from the first byte on
            Most::Worth(_) => worth,
        };
        self.heard_at = Instant::now();
        self.inbox.extend_from_slice(chunk.get(..count).unwrap_or_default());
        Poll::Ready(Ok(Read { worth, is_dear }))
    }

    /// Writes what waits; ready when all of it is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        while !self.outbox.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outbox)) {
                Ok(count) => {
                    self.outbox.drain(..count);
                    self.stuck_since = Some(Instant::now());
                }
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    return Poll::Ready(Err(Ended::Closed));
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        self.outbox = Vec::new();
        self.stuck_since = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
