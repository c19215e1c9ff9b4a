//! Answers that are still to come.
//!
//! In:  futures of lines. Out: those lines, as they come.
//!
//! Invariant: at most [`MOST`] requests of one guest wait at a time; who asks much is told in turn with the others that do.

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fence_vmchannel_protocol::{Ask, Reply, Request, RequestId, Seal};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::heard::Heard;
use crate::channel::turns::Turns;
use crate::channel::{Channel, Connection};
use crate::orders::Taken;

/// How many requests of one guest may wait.
const MOST: usize = 8;

/// What may be said now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// All that was said is written.
    for_lines: bool,
    /// No byte waits that may be another question: the answer to a struct does not tell whose it is.
    is_heard_out: bool,
    /// All that was said before of the answer to a struct is read.
    is_read: bool,
}

impl Room {
    /// No event tells that something is read.
    pub(super) async fn may_change(self) {
        if self.is_read { pending().await } else { sleep(LOOK_AGAIN).await }
    }
}

/// How soon to look whether something is read, and how long that may take. Who began to read may be gone, and another one be next.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const STALLED: Duration = Duration::from_secs(5);

/// One answer that is still to come.
pub(super) enum Pending {
    /// An order that runs, or is not accepted yet.
    Order(RequestId, BoxFuture<'static, Taken>),
    /// One reply.
    Reply(RequestId, BoxFuture<'static, Reply>),
    /// A list that is being made.
    List(RequestId, BoxFuture<'static, Vec<Vec<u8>>>),
    /// Lines that wait for room.
    Lines(RequestId, std::vec::IntoIter<Vec<u8>>),
    /// An accepted order.
    Taken(RequestId, Taken),
}

/// A line, the request it belongs to, and what of its answer is still to come.
type Said = (Vec<u8>, RequestId, Option<(Pending, Seal)>);

/// One of them.
struct Next {
    coming: BoxFuture<'static, Said>,
    /// It is of an accepted order.
    is_accepted: bool,
    /// Its next line, once that is there.
    said: Option<Said>,
}

/// All answers of one guest that are still to come.
#[derive(Default)]
pub(super) struct Waiting {
    asked: HashMap<RequestId, Ask>,
    /// In the order of their questions, which is the order of answers that come at the same time.
    pending: Vec<Next>,
    /// The answer to the last question that came as a struct: at most one, since it does not tell whose answer it is.
    legacy: Option<Next>,
    /// Since when what was said of it is not read.
    unread_since: Option<Instant>,
    /// Until the next line may be made, for a guest that asks much.
    turn: Option<BoxFuture<'static, ()>>,
}

impl Waiting {
    /// What may be said to this guest now. The rest of an answer to a struct that nobody reads is not said at all.
    pub(super) fn room_in<S: Connection>(&mut self, channel: &Channel<S>) -> Room {
        let is_read = self.legacy.is_none() || channel.is_read();
        self.unread_since = if is_read { None } else { self.unread_since.or_else(|| Some(Instant::now())) };
        if self.unread_since.is_some_and(|since| since.elapsed() > STALLED) {
            self.legacy = None;
        }
        Room { for_lines: channel.has_room(), is_heard_out: channel.is_heard_out(), is_read }
    }

    /// What is asked by the request with this id, while its answer is still to come.
    pub(super) fn asked(&self, id: RequestId) -> Option<&Ask> {
        self.asked.get(&id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.asked.len() >= MOST
    }

    /// Whether a list is still to come, which is the longest answer and the one that costs most.
    pub(super) fn is_listing(&self) -> bool {
        self.asked.values().any(|ask| *ask == Ask::List)
    }

    /// The answer to a struct is still to come. It takes the place of the one before, which nobody waits for any more.
    pub(super) fn push_legacy(&mut self, parts: BoxFuture<'static, Vec<Vec<u8>>>) {
        self.legacy = Some(Next::of(Pending::List(RequestId::NONE, parts), Seal::Checksum));
        self.unread_since = None;
    }

    /// Another question came: the answer to a struct before it would be taken for its own.
    pub(super) fn drop_legacy(&mut self) {
        self.legacy = None;
    }

    /// Whether the answer to a struct is still to come.
    pub(super) fn awaits_legacy(&self) -> bool {
        self.legacy.is_some()
    }

    /// Nothing to say yet.
    pub(super) fn push(&mut self, heard: &Heard<'_>, pending: Pending) -> Option<Reply> {
        self.add(&heard.request, heard.seal.clone(), pending);
        None
    }

    fn add(&mut self, request: &Request, seal: Seal, pending: Pending) {
        self.asked.insert(request.id, request.ask.clone());
        self.pending.push(Next::of(pending, seal));
    }

    /// The next line of any answer; waits for ever while there is none to come, or no room for it. All of them go on
    /// meanwhile: a delay does not begin when a guest begins to read. Who asks much is told `in_turn`. Cancel safe.
    pub(super) async fn next_line(&mut self, room: Room, in_turn: Option<&Turns>) -> Vec<u8> {
        let (line, id, rest) = poll_fn(|cx| self.poll_pending(cx, room, in_turn)).await;
        match rest {
            Some((rest, seal)) if id == RequestId::NONE => self.legacy = Some(Next::of(rest, seal)),
            Some((rest, seal)) => self.pending.push(Next::of(rest, seal)),
            None => {
                self.asked.remove(&id);
            }
        }
        line
    }

    /// All of them are asked each time: they are few. What an accepted order has to say can wait for the guest's turn; the others
    /// may hold what is everybody's.
    fn poll_pending(&mut self, cx: &mut Context<'_>, room: Room, in_turn: Option<&Turns>) -> Poll<Said> {
        let is_its_turn = self.poll_turn(cx, in_turn).is_ready();
        let all = self.pending.iter_mut().chain(&mut self.legacy);
        for next in all.filter(|next| next.said.is_none() && (is_its_turn || !next.is_accepted)) {
            if let Poll::Ready(line) = next.coming.as_mut().poll(cx) {
                next.said = Some(line);
            }
        }
        let may_say = room.for_lines && is_its_turn;
        let ready = self.pending.iter().position(|next| next.said.is_some()).filter(|_| may_say);
        let legacy = || {
            self.legacy.take_if(|next| next.said.is_some() && may_say && room.is_heard_out && room.is_read)
        };
        match ready.map(|place| self.pending.remove(place)).or_else(legacy).and_then(|next| next.said) {
            Some(said) => Poll::Ready(said),
            None => Poll::Pending,
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, in_turn: Option<&Turns>) -> Poll<()> {
        let Some(turns) = in_turn.filter(|_| !self.pending.is_empty() || self.legacy.is_some()) else {
            self.turn = None;
            return Poll::Ready(());
        };
        ready!(self.turn.get_or_insert_with(|| turns.line_up()).as_mut().poll(cx));
        self.turn = None;
        Poll::Ready(())
    }
}

impl Next {
    fn of(pending: Pending, seal: Seal) -> Self {
        let is_accepted = matches!(pending, Pending::Taken(..));
        Self { coming: Box::pin(pending.next(seal)), is_accepted, said: None }
    }
}

impl Pending {
    async fn next(self, seal: Seal) -> Said {
        match self {
            Self::Order(id, accepted) => next_of_order(id, accepted.await, seal).await,
            Self::Taken(id, taken) => next_of_order(id, taken, seal).await,
            Self::Reply(id, reply) => (line_of(&reply.await, &seal), id, None),
            Self::List(id, lines) => next_of_list(id, lines.await.into_iter(), seal),
            Self::Lines(id, lines) => next_of_list(id, lines, seal),
        }
    }
}

fn next_of_list(id: RequestId, mut lines: std::vec::IntoIter<Vec<u8>>, seal: Seal) -> Said {
    let line = lines.next().unwrap_or_default();
    let rest = (lines.len() > 0).then_some((Pending::Lines(id, lines), seal));
    (line, id, rest)
}

async fn next_of_order(id: RequestId, mut taken: Taken, seal: Seal) -> Said {
    let reply = taken.next(id).await;
    let line = line_of(&reply, &seal);
    let rest = (!reply.is_final()).then_some((Pending::Taken(id, taken), seal));
    (line, id, rest)
}

/// The line of a reply.
pub(super) fn line_of(reply: &Reply, seal: &Seal) -> Vec<u8> {
    seal.line(reply).unwrap_or_else(|error| {
        tracing::error!(%error, id = %reply.id, "a reply that cannot be written is our bug");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use fence_vmchannel_protocol::{Body, Method, Verdict};
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    use super::*;

    const ALL: Room = Room { for_lines: true, is_heard_out: true, is_read: true };
    const NONE: Room = Room { for_lines: false, ..ALL };

    #[tokio::test(start_paused = true)]
    async fn a_delay_runs_out_while_its_guest_does_not_read() {
        let (mut waiting, begun) = (Waiting::default(), Instant::now());
        let (id, delay) = (RequestId::from_random([7; 16]).unwrap(), Duration::from_secs(3));
        let request = Request { id, ask: Ask::List, timeout: delay, delay, method: Method::OnOff };
        let refused = Body::Verdict(Verdict::refused(fence_vmchannel_protocol::Reason::Busy));
        let reply = async move {
            sleep(delay).await;
            Reply { id, body: refused }
        };
        waiting.add(&request, Seal::Checksum, Pending::Reply(id, Box::pin(reply)));

        let unread = timeout(Duration::from_secs(10), waiting.next_line(NONE, None)).await;
        waiting.next_line(ALL, None).await;

        assert!(unread.is_err(), "nothing is said while there is no room");
        assert_eq!(begun.elapsed(), Duration::from_secs(10), "it was ready all the while");
    }

    #[tokio::test]
    async fn whoever_asks_little_does_not_wait_until_all_who_joined_an_order_are_told() {
        let (turns, told) = (Turns::default(), Arc::new(AtomicUsize::new(0)));
        let mut all = tokio::task::JoinSet::new();
        let refused = || Verdict::refused(fence_vmchannel_protocol::Reason::Busy);
        for _ in 0..200 {
            let (turns, told) = (turns.clone(), told.clone());
            all.spawn(async move {
                let mut waiting = Waiting::default();
                for number in 1..=4 {
                    let id = RequestId::from_random([number; 16]).unwrap();
                    let pending = Pending::Taken(id, Taken::Verdict(refused()));
                    waiting.pending.push(Next::of(pending, Seal::Checksum));
                }
                for _ in 0..4 {
                    waiting.next_line(ALL, Some(&turns)).await;
                    told.fetch_add(1, Relaxed);
                }
            });
        }

        tokio::task::yield_now().await;
        let first = told.load(Relaxed);
        while all.join_next().await.is_some() {}

        assert!(first < 50, "{first} lines of others came first");
        assert_eq!(told.load(Relaxed), 800);
    }

    #[tokio::test]
    async fn who_waits_for_a_long_answer_sleeps_also_if_it_asks_much() {
        let (turns, mut waiting) = (Turns::default(), Waiting::default());
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(ours);
        guest.write_all(&b"noise\n".repeat(10)).await.unwrap();
        for _ in 0..10 {
            channel.hear(&turns).await.unwrap();
        }
        let id = RequestId::from_random([7; 16]).unwrap();
        let never = Pending::Reply(id, Box::pin(std::future::pending()));
        waiting.pending.push(Next::of(never, Seal::Checksum));
        assert!(channel.asks_much());

        let mut polls = 0;
        let mut session = std::pin::pin!(async {
            let _both = tokio::join!(channel.hear(&turns), waiting.next_line(ALL, Some(&turns)));
        });
        let counted = poll_fn(|cx| {
            polls += 1;
            session.as_mut().poll(cx)
        });

        assert!(timeout(Duration::from_millis(50), counted).await.is_err());
        assert!(polls < 20, "it was woken {polls} times, by itself");
    }
}
