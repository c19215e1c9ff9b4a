//! Tends one channel: makes or finds its socket, knows who is there, has the session serve it.
//!
//! In:  a channel of a domain. Out: sessions, one at a time, for as long as the domain has the channel.
//!
//! Invariant: one task for each channel; everybody but the domain's own running QEMU is refused and audited; whatever fails
//! is tried again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::Channel;
use super::board::{Place, Served};
use super::bucket::Bucket;
use super::socket::{Listener, Peer, peer, somebody_is_served, somebody_waits};
use crate::agent::Agent;
use crate::audit::Quota;
use crate::domain::{ChannelSpec, Domain, Mode};
use crate::identity::{Guest, Stranger};
use crate::session;

/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How soon a socket of QEMU's is tried again while its VM starts.
const RETRY_BIND: Duration = Duration::from_millis(100);
/// Connections that are looked at in a second, and at once.
const CONNECTIONS: (u32, u32) = (200, 400);

struct Tended {
    uuid: Uuid,
    path: PathBuf,
    agent: Arc<Agent>,
    place: Place,
    quota: Quota,
}

/// Tends a channel until it is dropped.
pub async fn tend(uuid: Uuid, spec: ChannelSpec, agent: Arc<Agent>) {
    let place = agent.board.place(uuid, &spec.path);
    let tended = Tended { uuid, path: spec.path, agent, place, quota: Quota::default() };
    match spec.mode {
        Mode::Connect => tended.listen().await,
        Mode::Bind => tended.reach().await,
    }
}

impl Tended {
    fn domain(&self) -> Option<Arc<Domain>> {
        self.agent.inventory.borrow().get(self.uuid).cloned()
    }

    fn served(&self, guest: &Guest) {
        self.place.set(Served::Served);
        if let Some(left_out) = self.quota.take() {
            let left_out = Some(left_out).filter(|count| *count > 0);
            tracing::info!(target: "channel", domain = %guest.name(), pid = guest.instance().id.pid, left_out, "served");
        }
    }

    fn failed(&self, what: &str, error: &io::Error) {
        if self.place.set(Served::Failed(format!("{what}: {error}"))) {
            tracing::error!(path = %self.path.display(), %error, "{what}; trying again");
        }
    }

    /// Our socket, QEMU connects. After each run of the VM a new one takes its place, by a rename: there is no moment
    /// without the file.
    async fn listen(&self) {
        loop {
            let owner = self.domain().filter(|domain| domain.is_alive()).and_then(|domain| domain.owner);
            match Listener::open(&self.path, owner) {
                Ok(listener) => self.accept(&listener).await,
                Err(error) => {
                    self.failed("the socket cannot be made", &error);
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Serves one run of the VM.
    async fn accept(&self, listener: &Listener) {
        self.place.set(Served::Waiting);
        let mut connections = Bucket::new(CONNECTIONS);
        let mut next: Option<(UnixStream, Guest)> = None;
        loop {
            let Some((stream, guest)) = next.take() else {
                next = self.next_guest(listener, &mut connections).await;
                continue;
            };
            self.served(&guest);
            let served = session::serve(Channel::new(stream), &guest, &self.agent, &self.quota);
            let mut served = std::pin::pin!(served);
            let ended = loop {
                tokio::select! {
                    ended = &mut served => break Some(ended),
                    // QEMU has one connection: a second one of its own means that it dropped the first.
                    again = self.next_guest(listener, &mut connections) => {
                        next = again;
                        if next.is_some() {
                            break None;
                        }
                    }
                }
            };
            tracing::debug!(domain = %guest.name(), ?ended, "no longer served");
            self.place.set(Served::Waiting);
            if next.is_none() && guest.instance().process.is_gone() {
                return;
            }
        }
    }

    /// The next connection, if it is the domain's QEMU. Cancel safe: a connection is taken at its end.
    async fn next_guest(&self, listener: &Listener, connections: &mut Bucket) -> Option<(UnixStream, Guest)> {
        sleep_until(connections.ready_at()).await;
        let mut inventory = self.agent.inventory.clone();
        let accepted = loop {
            self.give_to_owner(listener);
            tokio::select! {
                accepted = listener.accept() => break accepted,
                Ok(()) = inventory.changed() => {}
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.take();
                Some((stream, self.recognise(peer)?))
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "a connection could not be taken; trying again");
                sleep(RETRY).await; // descriptors may be short for a while
                None
            }
        }
    }

    fn give_to_owner(&self, listener: &Listener) {
        let Some(owner) = self.domain().filter(|domain| domain.is_alive()).and_then(|domain| domain.owner)
        else {
            return;
        };
        if let Err(error) = listener.give_to(owner) {
            self.failed("the socket cannot be given to the domain's user", &error);
        }
    }

    fn recognise(&self, peer: Peer) -> Option<Guest> {
        let recognised = match self.domain() {
            Some(domain) => Guest::recognise(&*self.agent.hypervisor, &domain, peer.pid),
            None => Err(Stranger::NotRunning),
        };
        let domain = || self.domain().map_or_else(|| self.uuid.to_string(), |domain| domain.name.to_string());
        recognised.inspect_err(|why| self.quota.stranger(&domain(), peer.pid, peer.uid, why)).ok()
    }

    /// QEMU's socket, we connect.
    async fn reach(&self) {
        let mut inventory = self.agent.inventory.clone();
        loop {
            let uuid = self.uuid;
            let alive = inventory.wait_for(|now| now.get(uuid).is_some_and(|domain| domain.is_alive()));
            if alive.await.is_err() {
                return;
            }
            let taken_before = somebody_is_served(&self.path);
            match UnixStream::connect(&self.path).await {
                Ok(stream) => match peer(&stream).map(|peer| self.recognise(peer)) {
                    Ok(Some(guest)) => self.serve_bound(stream, &guest, taken_before).await,
                    Ok(None) => sleep(RETRY).await,
                    Err(error) => self.failed("QEMU's socket does not tell its peer", &error),
                },
                Err(error) => self.failed("QEMU's socket cannot be reached", &error),
            }
            sleep(RETRY_BIND).await;
        }
    }

    async fn serve_bound(&self, stream: UnixStream, guest: &Guest, taken_before: bool) {
        self.served(guest);
        let served = session::serve(Channel::new(stream), guest, &self.agent, &self.quota);
        let mut served = std::pin::pin!(served);
        let mut check = Instant::now() + RETRY;
        loop {
            tokio::select! {
                _ended = &mut served => break,
                () = sleep_until(check), if taken_before => {
                    check += RETRY;
                    // Who came first is served; while somebody waits, that is we.
                    let occupied = somebody_waits(&self.path);
                    let state = if occupied { Served::Occupied } else { Served::Served };
                    if self.place.set(state) && occupied {
                        tracing::warn!(path = %self.path.display(), domain = %guest.name(),
                            "another program is connected to this channel; waiting for it to leave");
                    }
                }
            }
        }
        self.place.set(Served::Waiting);
    }
}
