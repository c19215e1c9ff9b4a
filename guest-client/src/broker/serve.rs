//! The broker at work: programs on one side, the host on the other, the desk between them.
//!
//! In:  the socket, the policy, the uplink. Out: an end, when somebody asks for it.
//!
//! Invariant: when the connection to the host is lost, so are all programs' connections: each of them asks again by the
//! same id, as it would at the port. So nothing that was said on one connection counts on another.

use std::collections::HashMap;
use std::io;

use fence_vmchannel_protocol::{Body, Reason, Reply, RequestId, Verdict, encode_line};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::desk::{Declined, Desk, PROGRAMS, ProgramId, Question};
use super::heading;
use super::log::Log;
use super::policy::Policy;
use super::program::{Program, Words};
use super::socket::Door;
use super::uplink::HostWord;

/// Lines that wait for a program that does not read: a list of some thousand targets, which comes at once.
const LINES: usize = 128;
/// Much less than [`LINES`], so that the answers to what waits here always have room.
const WORDS: usize = 16;
/// After a connection that could not be accepted, for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What happened.
enum Event {
    Came(io::Result<UnixStream>),
    Asked(ProgramId, Question),
    Left(ProgramId),
    Host(HostWord),
    /// There is room for a line to the host.
    Room,
    Time,
    End,
}

/// A program's side of the desk.
struct Ear {
    lines: mpsc::Sender<Vec<u8>>,
    task: AbortHandle,
}

pub(super) struct Broker {
    policy: Policy,
    log: Log,
    desk: Desk,
    ears: HashMap<ProgramId, Ear>,
    tasks: JoinSet<ProgramId>,
    words: Words,
    host: Option<mpsc::Sender<Vec<u8>>>,
    /// Why the host is away.
    why: String,
}

/// Where events come from.
struct Sources {
    door: Door,
    words: mpsc::Receiver<(ProgramId, Question)>,
    host: mpsc::Receiver<HostWord>,
    end: [Signal; 2],
}

/// Serves until SIGTERM or SIGINT.
pub(super) async fn serve(door: Door, policy: Policy, host: mpsc::Receiver<HostWord>) -> io::Result<()> {
    let (words, from_programs) = mpsc::channel(WORDS);
    let mut sources = Sources {
        door,
        words: from_programs,
        host,
        end: [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?],
    };
    let mut broker = Broker {
        policy,
        log: Log::new(),
        desk: Desk::new(Instant::now()),
        ears: HashMap::new(),
        tasks: JoinSet::new(),
        words,
        host: None,
        why: "the broker has just begun".to_owned(),
    };
    loop {
        let event = broker.next(&mut sources).await;
        if matches!(event, Event::End) {
            return Ok(());
        }
        broker.on(event).await;
    }
}

impl Broker {
    async fn next(&mut self, sources: &mut Sources) -> Event {
        let now = Instant::now();
        let wake = self.desk.wake_at(now);
        let host = self.host.as_ref().filter(|_| self.desk.has_turn(now));
        let room = async {
            match host {
                Some(host) => host.reserve().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        let [terminated, interrupted] = &mut sources.end;
        tokio::select! {
            biased; // what is to be said to the host goes before what more is asked of it
            _ = terminated.recv() => Event::End,
            _ = interrupted.recv() => Event::End,
            Some(word) = sources.host.recv() => Event::Host(word),
            true = room => Event::Room,
            Some(Ok(id)) = self.tasks.join_next() => Event::Left(id),
            Some((id, question)) = sources.words.recv() => Event::Asked(id, question),
            accepted = sources.door.listener.accept() => Event::Came(accepted.map(|(stream, _)| stream)),
            () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => Event::Time,
            else => Event::End,
        }
    }

    async fn on(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Came(Ok(stream)) => self.welcome(stream),
            Event::Came(Err(error)) => {
                self.log.say_at_most(format_args!("cannot accept a connection: {error}"));
                sleep(ACCEPT_AGAIN).await;
            }
            Event::Asked(id, question) => self.ask(id, question, now),
            Event::Left(id) => self.dismiss(id),
            Event::Host(word) => self.hear(word),
            Event::Room => {
                if let (Some(host), Some(line)) = (&self.host, self.desk.next_line(now)) {
                    // There was room; a connection that ended meanwhile is told of by its own word.
                    host.try_send(line).ok();
                }
            }
            Event::Time | Event::End => {}
        }
        for (program, id) in self.desk.expire(now) {
            let detail =
                format!("the request's time was over before its turn came at the broker: {}", self.why);
            self.say(program, id, Verdict::failed(Reason::Timeout, detail));
        }
    }

    fn welcome(&mut self, stream: UnixStream) {
        let Ok(peer) = stream.peer_cred() else { return };
        let (user, has_room) = (peer.uid(), self.tasks.len() < 2 * PROGRAMS); // some are just ending
        let rights = self.policy.rights(user, peer.gid());
        let Some(id) = has_room.then(|| self.desk.join(rights)).flatten() else {
            return self.log.say_at_most(format_args!("a program of user {user} was turned away: too many"));
        };
        let (sender, lines) = mpsc::channel(LINES);
        let program = Program { id, stream, lines, words: self.words.clone() };
        let task = self.tasks.spawn(program.attend());
        self.ears.insert(id, Ear { lines: sender, task });
    }

    fn dismiss(&mut self, id: ProgramId) {
        self.desk.leave(id);
        self.ears.remove(&id);
    }

    fn ask(&mut self, program: ProgramId, question: Question, now: Instant) {
        let (id, op) = (question.request.id, question.request.ask.op());
        if let Err(Declined { reason, detail }) = self.desk.ask(program, question, now) {
            self.log.say_at_most(format_args!("refused {op}: {reason}: {detail}"));
            self.say(program, id, Verdict { detail: Some(detail), ..Verdict::refused(reason) });
        }
    }

    fn hear(&mut self, word: HostWord) {
        match word {
            HostWord::There(lines) => {
                self.log.say(format_args!("the host is there"));
                self.why = "the host is there, but too much is asked of it".to_owned();
                self.host = Some(lines);
            }
            HostWord::Away(why) => {
                if self.host.take().is_some() {
                    self.desk.host_is_lost();
                    self.ears.clear(); // what is on its way to them is still written
                }
                if self.why != why {
                    self.log.say(format_args!("{why}"));
                    self.why = why;
                }
            }
            HostWord::Said(frame) => self.pass_on(frame),
        }
    }

    fn pass_on(&mut self, frame: fence_vmchannel_protocol::Frame) {
        let Some((heading, line)) = heading::read(frame) else { return };
        match (heading.id, heading.reason) {
            (Some(id), _) => {
                if let Some(program) = self.desk.heard(id, heading.is_final) {
                    self.tell(program, line);
                }
            }
            (None, Some(Reason::BadSignature)) => {
                for program in self.desk.doubt_signed() {
                    self.tell(program, line.clone());
                }
            }
            (None, _) => self.desk.ask_again(Instant::now()),
        }
    }

    fn say(&mut self, program: ProgramId, id: RequestId, verdict: Verdict) {
        if let Ok(line) = encode_line(&Reply { id, body: Body::Verdict(verdict) }) {
            self.tell(program, line);
        }
    }

    /// A line for a program; one that does not read loses its connection.
    fn tell(&mut self, program: ProgramId, line: Vec<u8>) {
        let Some(ear) = self.ears.get(&program) else { return };
        if ear.lines.try_send(line).is_err() {
            ear.task.abort();
            self.log.say_at_most(format_args!("a program does not read its answers and is cut off"));
            self.dismiss(program);
        }
    }
}
