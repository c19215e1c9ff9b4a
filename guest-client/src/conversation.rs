//! One request, one answer: the heart of the client on one screen.
//!
//! In:  what to ask, a port, a deadline. Out: the host's [`Answer`] to exactly this request.
//!
//! Invariant: the line that is sent again is the same line with the same id, so that the host never acts twice; no
//! answer within the deadline is an error, never a guess.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::Path;
use std::time::{Duration, SystemTime};

use fence_vmchannel_protocol::limits::{TIMEOUT_MAX, TIMEOUT_MIN};
use fence_vmchannel_protocol::{Ask, LineError, Method, Request, RequestId, encode_line};
use tokio::time::Instant;

use crate::listener::{Answer, Heard, Listener};
use crate::port::{Event, Port, PortError};
use crate::trace::Trace;

/// The line may have been lost, or the agent restarted: without a word the line is sent again, soon and then seldom.
const FIRST_SILENCE: Duration = Duration::from_secs(2);
const LATER_SILENCE: Duration = Duration::from_secs(5);
/// A host that keeps saying that it cannot read our line will not learn it.
const GARBLED_MOST: u32 = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// The host did not answer in time.
    #[error("no answer from the host within {} s; try again, or see the agent's log on the host", .within.as_secs_f64())]
    NoAnswer {
        /// How long was waited.
        within: Duration,
    },
    /// The port cannot be used.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The request does not fit into a line.
    #[error("the request is too long for the channel; name the target by its UUID")]
    TooLong(#[source] LineError),
}

/// What is asked, and how long an answer is waited for.
pub(crate) struct Question {
    pub(crate) ask: Ask,
    pub(crate) delay: Duration,
    /// The time for all of it, delay included, and when it ends.
    pub(crate) within: Duration,
    pub(crate) deadline: Instant,
}

/// What to do next.
enum Next {
    Connect,
    Speak,
    Listen,
    Done(Answer),
}

pub(crate) async fn converse(
    question: &Question,
    port: &mut Port,
    trace: Trace,
) -> Result<Answer, ConversationError> {
    let (id, deadline) = (new_id(), question.deadline);
    port.connect(deadline).await?;
    trace.say(format_args!("opened {}", name(port.path())));
    trace.say(format_args!("asking: {}, request id {id}", summary(&question.ask)));
    let line = question.line(id)?;
    let mut ear = Ear::new(id, trace);
    let mut buffer = [0; 4096];
    let mut next = Next::Speak;
    loop {
        if let Next::Done(answer) = next {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            return Err(ConversationError::NoAnswer { within: question.within });
        }
        next = match next {
            Next::Connect => {
                trace.say(format_args!("the host is away, waiting for it"));
                port.reconnect(deadline).await?;
                trace.say(format_args!("the host is back, asking again by the same request id"));
                Next::Speak
            }
            Next::Speak => {
                ear.begin_anew();
                match port.send(&line, deadline).await? {
                    Event::Bytes(_) | Event::Silence => Next::Listen,
                    Event::Away => Next::Connect,
                }
            }
            Next::Listen => match port.receive(&mut buffer, ear.patient_until.min(deadline)).await? {
                Event::Bytes(count) => ear.hear(buffer.get(..count).unwrap_or_default()),
                Event::Silence => {
                    trace.say(format_args!("no word from the host, asking again by the same request id"));
                    Next::Speak
                }
                Event::Away => Next::Connect,
            },
            Next::Done(answer) => Next::Done(answer),
        };
    }
}

/// The device as it was named, and what it is where that is a link.
fn name(path: &Path) -> String {
    match path.canonicalize() {
        Ok(real) if real != path => format!("{} ({})", path.display(), real.display()),
        Ok(_) | Err(_) => path.display().to_string(),
    }
}

fn summary(ask: &Ask) -> String {
    let target = ask.target().map(|target| format!(" {target}")).unwrap_or_default();
    format!("{}{target}", ask.op())
}

/// The listener, and how long it is patient.
struct Ear {
    listener: Listener,
    patience: Duration,
    patient_until: Instant,
    garbled: u32,
    trace: Trace,
}

impl Ear {
    fn new(id: RequestId, trace: Trace) -> Self {
        let patient_until = Instant::now() + FIRST_SILENCE;
        Self { listener: Listener::new(id), patience: FIRST_SILENCE, patient_until, garbled: 0, trace }
    }

    fn begin_anew(&mut self) {
        self.listener.begin_anew();
        self.patient_until = Instant::now() + self.patience;
        self.patience = LATER_SILENCE;
    }

    fn hear(&mut self, mut bytes: &[u8]) -> Next {
        let mut next = Next::Listen;
        while let Some(heard) = self.listener.hear(&mut bytes) {
            match heard {
                Heard::Answer(answer) => return Next::Done(answer),
                Heard::Garbled => {
                    self.garbled += 1;
                    self.trace.say(format_args!("the host could not read a line"));
                    if self.garbled <= GARBLED_MOST {
                        next = Next::Speak;
                    }
                }
                Heard::Progress(phase, at) => {
                    self.trace.say(format_args!("progress: {phase}, {} ms at the host", at.as_millis()));
                    self.patient_until = Instant::now() + LATER_SILENCE;
                }
                Heard::Part => self.patient_until = Instant::now() + LATER_SILENCE,
            }
        }
        next
    }
}

impl Question {
    /// A newline, which ends whatever half line lies on the way, and the request.
    fn line(&self, id: RequestId) -> Result<Vec<u8>, ConversationError> {
        // The host counts its time from the end of the delay.
        let left = self.deadline.saturating_duration_since(Instant::now()).saturating_sub(self.delay);
        let timeout = host_time(left);
        let request =
            Request { id, ask: self.ask.clone(), timeout, delay: self.delay, method: Method::OnOff };
        // With --key-file the request will be signed here.
        let line = encode_line(&request).map_err(ConversationError::TooLong)?;
        Ok([b"\n", line.as_slice()].concat())
    }
}

/// The time that the host may take: so much less than ours that its reason for a failure still arrives.
fn host_time(ours: Duration) -> Duration {
    let margin = if ours >= Duration::from_secs(20) { Duration::from_secs(5) } else { ours / 10 };
    (ours - margin).clamp(TIMEOUT_MIN, TIMEOUT_MAX)
}

/// An id that no earlier request had, also none before a reboot of this guest.
///
/// It need not be secret, so nothing here waits for the kernel's entropy: a young guest without a random number device
/// may have none for minutes. The hasher's keys come from the kernel without waiting; where those repeat after a
/// reboot, the clocks still differ.
fn new_id() -> RequestId {
    loop {
        let half = || {
            let mut hasher = RandomState::new().build_hasher();
            SystemTime::now().hash(&mut hasher);
            std::time::Instant::now().hash(&mut hasher);
            std::process::id().hash(&mut hasher);
            u128::from(hasher.finish())
        };
        if let Some(id) = RequestId::from_random((half() << 64 | half()).to_be_bytes()) {
            return id;
        }
    }
}
