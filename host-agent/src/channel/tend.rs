//! Tends one channel: makes or finds its socket, knows who is there, has the session serve it.
//!
//! In:  a channel of a domain, and its socket if it has one. Out: sessions, one at a time; and the socket, once nobody has
//! come for a while.
//!
//! Invariant: one task for a channel at most; everybody but the domain's own running QEMU is refused and audited; whatever fails
//! is tried again; who connects over and over is looked at less often, and the log hears of it within bounds.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::board::{Place, Served};
use super::bucket::Bucket;
use super::door::Door;
use super::socket::{self, Listener, Peer, peer};
use super::{Channel, Limits};
use crate::agent::Agent;
use crate::audit::Quota;
use crate::domain::{Domain, Mode, Process, Sighting};
use crate::identity::{Guest, Stranger};
use crate::inventory::Hint;
use crate::session;

/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How long after it closed its connection a QEMU may take to be gone: an ending process closes its files last. Waiting for its end
/// takes a descriptor.
const ENDING: Duration = Duration::from_millis(250);
/// How soon a socket of QEMU's is tried again while its VM starts.
const RETRY_BIND: Duration = Duration::from_millis(100);
/// Connections that are looked at in a second, and at once: also strangers get their turn, and are gone soon.
const KNOCKS: (u32, u32) = (25, 100);
/// Sessions that are begun in a second, and at once. QEMU itself connects once, and once more after each restart of the
/// agent.
const SESSIONS: (u32, u32) = (2, 20);

/// Nobody has come for so long that no bound of ours remembers anybody: a new task, with new bounds, is the same to who comes
/// next. The bounds of the log are the slowest, with a minute.
pub(crate) const QUIET: Duration = Duration::from_secs(60);

struct Tended {
    door: Arc<Door>,
    agent: Arc<Agent>,
    place: Place,
    strangers: Quota,
}

/// The domain's QEMU at our socket.
struct Visitor {
    stream: UnixStream,
    guest: Guest,
}

/// How fast a channel takes connections.
struct Pace {
    knocks: Bucket,
    sessions: Bucket,
    /// What its guest may ask yet.
    limits: Limits,
    /// When somebody was here last.
    knocked_at: Instant,
}

/// How waiting for a run of the VM ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// The VM ran, and has ended.
    Over,
    /// Nobody came for a while.
    Quiet,
}

impl Pace {
    fn new() -> Self {
        let (knocks, sessions) = (Bucket::new(KNOCKS), Bucket::new(SESSIONS));
        Self { knocks, sessions, limits: Limits::default(), knocked_at: Instant::now() }
    }

    fn ready_at(&self) -> Instant {
        self.knocks.ready_at().max(self.sessions.ready_at())
    }
}

/// Tends a channel until it is dropped, or until nobody has come to its socket for a while: then that one is given back. Without
/// a socket one is made.
pub async fn tend(door: Arc<Door>, socket: Option<OwnedFd>, agent: Arc<Agent>) -> OwnedFd {
    let place = agent.board.place(door.clone());
    let tended = Tended { door, agent, place, strangers: Quota::default() };
    match tended.door.spec.mode {
        Mode::Connect => tended.listen(socket).await,
        Mode::Bind => Box::pin(tended.reach()).await,
    }
}

/// The processor time that this thread has used.
fn time_used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The end of the process that was served last.
async fn end_of(process: Option<&dyn Process>) {
    match process {
        Some(process) => process.gone().await,
        None => std::future::pending().await,
    }
}

impl Tended {
    fn path(&self) -> &Path {
        &self.door.spec.path
    }

    fn domain(&self) -> Option<Arc<Domain>> {
        self.agent.inventory.borrow().at_the_door(self.door.domain).cloned()
    }

    fn running(&self) -> Option<Arc<Domain>> {
        self.domain().filter(|domain| domain.is_alive())
    }

    /// What may be logged for this guest, whichever way it comes about.
    fn quota(&self) -> Arc<Quota> {
        self.agent.orders.quota(self.door.domain)
    }

    fn served(&self, guest: &Guest) {
        self.place.set(Served::Served);
        if let Some(left_out) = self.quota().take() {
            let left_out = Some(left_out).filter(|count| *count > 0);
            tracing::info!(target: "channel", domain = %guest.name(), pid = guest.instance().id.pid, left_out, "served");
        }
    }

    fn failed(&self, what: &str, error: &io::Error) {
        let is_new = self.place.set(Served::Failed(format!("{what}: {error}")));
        if is_new && self.quota().take().is_some() {
            tracing::error!(path = %self.path().display(), %error, "{what}; trying again");
        }
    }

    /// A lack of descriptors is one for all channels, and is told once for all.
    fn not_accepted(&self, error: &io::Error) {
        let short =
            [Errno::EMFILE, Errno::ENFILE].iter().any(|lack| error.raw_os_error() == Some(*lack as i32));
        let may_tell = if short { self.agent.board.shortage().take() } else { self.quota().take() };
        if may_tell.is_some() {
            tracing::warn!(path = %self.path().display(), %error, "a connection could not be taken; trying again");
        }
    }

    /// Our socket, QEMU connects. After each run of the VM a new one takes its place, by a rename: there is no moment
    /// without the file.
    async fn listen(&self, mut socket: Option<OwnedFd>) -> OwnedFd {
        loop {
            let owner = || self.running().and_then(|domain| domain.owner);
            let ours = socket.take().map_or_else(|| self.door.make_socket(owner()), Ok);
            match ours.and_then(Listener::at) {
                Ok(listener) => {
                    if self.accept(&listener).await == Run::Quiet {
                        return listener.into_socket();
                    }
                }
                Err(error) => {
                    self.failed("the socket cannot be made", &error);
                    Box::pin(sleep(RETRY)).await;
                }
            }
        }
    }

    /// Serves one run of the VM, or waits for one.
    async fn accept(&self, listener: &Listener) -> Run {
        self.place.set(Served::Waiting);
        let mut pace = Pace::new();
        let mut next: Option<Box<Visitor>> = None;
        let mut was_served: Option<Arc<dyn Process>> = None;
        loop {
            let Some(visitor) = next.take() else {
                let quiet = pace.knocked_at + QUIET;
                let waiting = async {
                    tokio::select! {
                        came = timeout_at(quiet, self.next_visitor(listener, &mut pace)) => {
                            came.map(Some).map_err(|_| Run::Quiet)
                        }
                        ended = timeout(ENDING, end_of(was_served.as_deref())), if was_served.is_some() => {
                            if ended.is_ok() { Err(Run::Over) } else { Ok(None) }
                        }
                    }
                };
                // On the heap, so that a channel where nobody is connected has no room for it.
                match Box::pin(waiting).await {
                    Ok(Some(visitor)) => next = visitor,
                    Ok(None) => was_served = None, // it lives, and may come back
                    Err(Run::Over) => {
                        self.hasten_a_look();
                        return Run::Over;
                    }
                    Err(Run::Quiet) => return Run::Quiet,
                }
                continue;
            };
            was_served = Some(visitor.guest.instance().process.clone());
            next = Box::pin(self.serve_accepted(*visitor, listener, &mut pace)).await;
            pace.knocked_at = Instant::now();
        }
    }

    /// How the VM ended is asked at once: libvirt's event may be lost, and its restart makes it forget who moved away.
    fn hasten_a_look(&self) {
        let _ = self.agent.hints.try_send(Hint::Changed(self.door.domain)); // a full queue is looked at all the same
    }

    /// Serves until the connection ends, or a second one takes its place.
    async fn serve_accepted(
        &self,
        visitor: Visitor,
        listener: &Listener,
        pace: &mut Pace,
    ) -> Option<Box<Visitor>> {
        let Visitor { stream, guest } = visitor;
        self.served(&guest);
        let quota = self.quota();
        let mut channel = Channel::within(pace.limits, stream, time_used);
        let next = {
            let mut served = std::pin::pin!(session::serve(&mut channel, &guest, &self.agent, &quota));
            loop {
                tokio::select! {
                    ended = &mut served => {
                        tracing::debug!(domain = %guest.name(), ?ended, "no longer served");
                        break None;
                    }
                    // QEMU has one connection: a second one of its own means that it dropped the first.
                    again = self.next_visitor(listener, pace) => {
                        if again.is_some() {
                            break again;
                        }
                    }
                }
            }
        };
        pace.limits = channel.limits();
        self.place.set(Served::Waiting);
        next
    }

    /// The next connection, if it is the domain's QEMU. Cancel safe: a connection is taken at its end.
    async fn next_visitor(&self, listener: &Listener, pace: &mut Pace) -> Option<Box<Visitor>> {
        if pace.ready_at() > Instant::now() {
            Box::pin(sleep_until(pace.ready_at())).await; // seldom: no room for it in each channel
        }
        loop {
            self.give_to_owner();
            tokio::select! {
                _ = listener.knocked() => break, // what is wrong is told when it is let in
                () = self.door.changed.notified() => {}
            }
        }
        if pace.knocks.is_drawn_on() {
            self.agent.board.turns().line_up().await;
        }
        let _met = self.meet().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                pace.knocks.take();
                pace.knocked_at = Instant::now();
                let guest = self.recognise(peer).filter(|_| !socket::is_hung_up(&stream))?;
                pace.sessions.take();
                Some(Box::new(Visitor { stream, guest }))
            }
            Err(error) => {
                self.not_accepted(&error);
                Box::pin(sleep(RETRY)).await;
                None
            }
        }
    }

    fn give_to_owner(&self) {
        let Some(owner) = self.running().and_then(|domain| domain.owner) else { return };
        if let Err(error) = socket::give(self.path(), owner) {
            self.failed("the socket cannot be given to the domain's user", &error);
        }
    }

    /// Reads what must be read of a process that is new, while nobody's connection waits for it. What was read is known as long as it
    /// is held.
    async fn meet(&self) -> Option<Sighting> {
        let domain = self.domain().filter(|domain| !domain.is_alive())?;
        Some(self.agent.hypervisor.instance_read(&domain).await)
    }

    fn recognise(&self, peer: Peer) -> Option<Guest> {
        let recognised = match self.domain() {
            Some(domain) => Guest::recognise(&*self.agent.hypervisor, &domain, peer.pid),
            None => Err(Stranger::NotRunning),
        };
        let whose =
            || self.domain().map_or_else(|| self.door.domain.to_string(), |domain| domain.name.to_string());
        recognised.inspect_err(|why| self.strangers.stranger(&whose(), peer.pid, peer.uid, why)).ok()
    }

    /// QEMU's socket, we connect.
    async fn reach(&self) -> OwnedFd {
        let mut pace = Pace::new();
        loop {
            if self.running().is_none() {
                self.hasten_a_look();
            }
            while self.running().is_none() {
                self.door.changed.notified().await;
            }
            let taken_before = self.agent.board.in_use().look().await.somebody_is_served(self.path());
            let _met = self.meet().await;
            match UnixStream::connect(self.path()).await {
                Ok(stream) => match peer(&stream).map(|peer| self.recognise(peer)) {
                    Ok(Some(guest)) => {
                        pace.sessions.take();
                        self.serve_bound(stream, &guest, taken_before, &mut pace.limits).await;
                    }
                    Ok(None) => sleep(RETRY).await,
                    Err(error) => self.failed("QEMU's socket does not tell its peer", &error),
                },
                Err(error) => self.failed("QEMU's socket cannot be reached", &error),
            }
            sleep_until(pace.ready_at().max(Instant::now() + RETRY_BIND)).await;
        }
    }

    async fn serve_bound(&self, stream: UnixStream, guest: &Guest, taken_before: bool, limits: &mut Limits) {
        self.served(guest);
        let quota = self.quota();
        let mut channel = Channel::within(*limits, stream, time_used);
        let mut served = Box::pin(session::serve(&mut channel, guest, &self.agent, &quota));
        let mut check = Instant::now() + RETRY;
        loop {
            // Who came first is served; while somebody waits, that is we.
            let looked = async {
                sleep_until(check).await;
                self.agent.board.in_use().look().await.somebody_waits(self.path())
            };
            let occupied = tokio::select! {
                _ended = &mut served => break,
                occupied = looked, if taken_before => occupied,
            };
            check += RETRY;
            let state = if occupied { Served::Occupied } else { Served::Served };
            if self.place.set(state) && occupied && self.quota().take().is_some() {
                tracing::warn!(path = %self.path().display(), domain = %guest.name(),
                    "another program is connected to this channel; waiting for it to leave");
            }
        }
        drop(served);
        *limits = channel.limits();
        self.place.set(Served::Waiting);
    }
}
