//! One request, one answer: the heart of the client on one screen.
//!
//! In:  what to ask, a port, a deadline. Out: the host's [`Answer`] to exactly this request.
//!
//! Invariant: what is sent again is the same request with the same id, signed anew where it is signed, so that the host never
//! acts twice, with what is left of its time; no answer within the deadline is an error, never a guess.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::Path;
use std::time::{Duration, SystemTime};

use fence_vmchannel_protocol::limits::{TIMEOUT_MAX, TIMEOUT_MIN};
use fence_vmchannel_protocol::signing::KeyId;
use fence_vmchannel_protocol::{Ask, LineError, Method, Request, RequestId};
use tokio::time::{Instant, sleep_until};

use crate::ear::{Ear, Next};
use crate::key::{KeyFileError, SigningKey};
use crate::listener::Answer;
use crate::port::{Event, Port, PortError};
use crate::trace::Trace;
use crate::voice::Voice;

/// How long to wait before a busy host is asked anew.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

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
    /// The key to sign with cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The request does not fit into a line.
    #[error("the request is too long for the channel; name the target by its UUID")]
    TooLong(#[source] LineError),
    /// The host says that the signature is not right.
    #[error(
        "the host does not accept signatures of key {key}: see whether it is this guest's key and still listed \
         (`fence-vmchanneld channel key list THIS-VM` on the host), or give --key-id"
    )]
    BadSignature {
        /// The key's name.
        key: KeyId,
    },
}

/// What is asked, and how long an answer is waited for.
pub(crate) struct Question {
    pub(crate) ask: Ask,
    pub(crate) delay: Duration,
    /// The key to sign with, where the host wants that.
    pub(crate) key: Option<SigningKey>,
    /// The time for all of it, delay included, and when it ends.
    pub(crate) within: Duration,
    pub(crate) deadline: Instant,
}

pub(crate) async fn converse(
    question: &Question,
    port: &mut Port,
    trace: Trace,
) -> Result<Answer, ConversationError> {
    let id = new_id();
    if !port.is_open() {
        port.connect(question.deadline).await?;
        trace.say(format_args!("opened {}", name(port.path())));
    }
    trace.say(format_args!("asking: {}, request id {id}", summary(&question.ask)));
    let mut voice = question.voice(id);
    let mut ear = Ear::new(&voice, trace);
    match (exchange(question, port, (&mut voice, &mut ear), trace).await, ear.stopping) {
        (Err(_), Some(last_word)) if Instant::now() >= question.deadline => Ok(last_word),
        (answer, _) => answer,
    }
}

async fn exchange(
    question: &Question,
    port: &mut Port,
    (voice, ear): (&mut Voice, &mut Ear),
    trace: Trace,
) -> Result<Answer, ConversationError> {
    let deadline = question.deadline;
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
                ear.forget();
                trace.say(format_args!("the host is back, asking again by the same request id"));
                Next::Speak
            }
            Next::Speak => {
                question.tell_what_is_left(&mut voice.request);
                ear.begin_anew(voice);
                said(&port.send(&voice.opening().map_err(ConversationError::TooLong)?, deadline).await?)
            }
            Next::Sign(nonce) => {
                ear.expect_under(nonce);
                said(&port.send(&voice.signed(&nonce).map_err(ConversationError::TooLong)?, deadline).await?)
            }
            Next::AskAnew => {
                voice.request.id = new_id();
                trace.say(format_args!("asking anew, request id {}", voice.request.id));
                Next::Speak
            }
            Next::Listen => match port.receive(&mut buffer, ear.patient_until.min(deadline)).await? {
                Event::Bytes(count) => ear.hear(buffer.get(..count).unwrap_or_default(), &question.ask)?,
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

/// As [`converse`], asked anew while the host is busy: it makes one list at a time for a guest, and whoever asked for the one
/// before may be gone.
pub(crate) async fn converse_unless_busy(
    question: &Question,
    port: &mut Port,
    trace: Trace,
) -> Result<Answer, ConversationError> {
    loop {
        let answer = converse(question, port, trace).await?;
        let again = Instant::now() + BUSY_PAUSE;
        if !answer.is_busy() || again >= question.deadline {
            return Ok(answer);
        }
        sleep_until(again).await;
    }
}

fn said(event: &Event) -> Next {
    match event {
        Event::Bytes(_) | Event::Silence => Next::Listen,
        Event::Away => Next::Connect,
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

impl Question {
    /// The request, and how it is said.
    fn voice(&self, id: RequestId) -> Voice {
        let (ask, delay, timeout) = (self.ask.clone(), self.delay, self.within);
        let request = Request { id, ask, timeout, delay, method: Method::OnOff };
        Voice { request, signing: self.key.clone().map(|key| (key, new_id())) }
    }

    /// The time that is left. The host counts its own from the end of the delay, which is told whole, if there is time for the
    /// order after it: while the host was away, or connected and hung, nobody else could be first.
    fn tell_what_is_left(&self, request: &mut Request) {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let order = (self.within.saturating_sub(self.delay) / 2).clamp(SHORT_ORDER, ORDER);
        request.delay = self.delay.min(left.saturating_sub(order));
        request.timeout = host_time(left - request.delay);
    }
}

/// The most that is left to an order after its delay, however late it is asked for again.
const ORDER: Duration = Duration::from_secs(15);
/// The host takes no stop that has less than six seconds.
const SHORT_ORDER: Duration = Duration::from_secs(7);

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
