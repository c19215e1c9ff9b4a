//! Who comes in from a network, and what of it is taken.
//!
//! In:  a connection, or a packet. Out: a caller that is known by its configured address, and its question asked.
//!
//! Invariant: default deny; a peer has so many requests a second and so many at a time, of which others use up none, and the log hears
//! of the others within bounds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fence_vmchannel_protocol::legacy::{
    CHALLENGE_BYTES, Challenge, Hash, NETWORK_BYTES, NetworkRequest, SharedKey,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::exchange::{HANDSHAKE, Rejected, prove, tell};
use super::key::{key_warnings, read_key};
use super::open::Stream;
use super::seen::Seen;
use crate::agent::Agent;
use crate::audit::Quota;
use crate::channel::REQUESTS;
use crate::channel::bucket::Bucket;
use crate::config::{Legacy, Network, PeerRule, Whence, Whom};
use crate::identity::{Caller, Dialect, Guest, Peer, Stranger};
use crate::legacy::PATIENCE;
use crate::legacy::question::{Question, ask};

/// How many requests of one peer are under way at a time.
const AT_A_TIME: usize = 8;
/// How many of one listener, where there are few peers, and where there are many.
const OF_A_LISTENER: (usize, usize) = (64, 1_024);

/// What becomes of an arrival.
pub(super) enum Weighed<'gate> {
    /// A peer's, which is served.
    Served(BoxFuture<'gate, ()>),
    /// Nobody's, or what a peer may not ask now.
    Dropped,
}

/// What all listeners share.
pub struct Gate {
    agent: Agent,
    key: Option<SharedKey>,
    hash: Hash,
    auth: Hash,
    callback_networks: Vec<Network>,
    peers: HashMap<Whence, Known>,
    issued: Mutex<HashSet<Challenge>>,
    seen: Mutex<Seen>,
    strangers: Quota,
}

/// A configured peer.
pub(super) struct Known {
    rule: PeerRule,
    requests: Mutex<Bucket>,
    under_way: Arc<()>,
    /// What its refusals may write into the log.
    quota: Quota,
    /// The same for what only says that it comes from there.
    unproven: Quota,
}

impl Gate {
    /// A gate with these settings.
    ///
    /// # Errors
    /// The key's file cannot be used.
    pub fn new(legacy: &Legacy, agent: &Agent) -> Result<Self, String> {
        let known = |rule: &PeerRule| {
            let known = Known {
                rule: rule.clone(),
                requests: Mutex::new(Bucket::new(REQUESTS)),
                under_way: Arc::default(),
                quota: Quota::default(),
                unproven: Quota::default(),
            };
            (rule.whence, known)
        };
        let key = read_key(legacy)?;
        for warning in key.iter().flat_map(|key| key_warnings(legacy, key)) {
            tracing::warn!(target: "legacy", "{warning}");
        }
        Ok(Self {
            agent: agent.clone(),
            key,
            hash: legacy.hash,
            auth: legacy.auth,
            callback_networks: legacy.callback_networks.clone(),
            peers: legacy.peers.iter().map(known).collect(),
            issued: Mutex::default(),
            seen: Mutex::default(),
            strangers: Quota::default(),
        })
    }

    /// Whether what is read now may be of any age.
    pub(super) fn was_held_up(&self) -> bool {
        self.agent.orders.were_held_up()
    }

    pub(super) fn auth(&self) -> Hash {
        self.auth
    }

    pub(super) fn key(&self) -> Option<&SharedKey> {
        self.key.as_ref()
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn may_call_back(&self, address: std::net::IpAddr) -> bool {
        self.callback_networks.iter().any(|network| network.has(address))
    }

    /// A challenge is ours until this is dropped.
    pub(super) fn issue(&self, challenge: Challenge) -> Issued<'_> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).insert(challenge);
        Issued(self, challenge)
    }

    pub(super) fn has_issued(&self, challenge: &Challenge) -> bool {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).contains(challenge)
    }

    /// How many requests of one listener are under way at a time: no peer can take another's places, as far as memory goes.
    pub(super) fn most(&self) -> usize {
        let (few, many) = OF_A_LISTENER;
        (AT_A_TIME * self.peers.len()).clamp(few, many)
    }

    /// A connection, closed unread unless it is from a peer.
    pub(super) fn weigh_stream(
        &self,
        stream: Box<dyn Stream>,
        whence: Whence,
        dialect: Dialect,
    ) -> Weighed<'_> {
        // Unlike a packet, a connection is from where it says.
        let visitor = self.known(whence).and_then(|known| Some((known, known.enter()?)));
        let Some((known, place)) = visitor else { return Weighed::Dropped };
        Weighed::Served(self.on_stream(stream, known, place, dialect).boxed())
    }

    async fn on_stream(&self, mut stream: Box<dyn Stream>, known: &Known, _place: Arc<()>, dialect: Dialect) {
        let served = async {
            let caller = self.caller(&known.rule, dialect).await?;
            let request = timeout(HANDSHAKE, async {
                let mut packet = [0; NETWORK_BYTES];
                stream.read_exact(&mut packet).await?;
                let request = self.open(&packet)?;
                prove(self, &mut *stream).await.map(|()| request)
            });
            let request = request.await??;
            self.answer(&mut *stream, &caller, known, &request).await
        };
        if let Err(why) = served.await {
            known.rejected(dialect, &why);
        }
    }

    /// The request in a packet, if it may be taken.
    fn open(&self, packet: &[u8; NETWORK_BYTES]) -> Result<NetworkRequest, Rejected> {
        let request = self.verify(packet)?;
        self.take(packet, &request).map(|()| request)
    }

    /// The request in a packet, if its hash is right and was not seen before.
    pub(super) fn verify(&self, packet: &[u8; NETWORK_BYTES]) -> Result<NetworkRequest, Rejected> {
        let request = NetworkRequest::open(packet, self.key.as_ref(), self.hash)?;
        match hash_of(packet, &request) {
            Some(hash) if self.seen().has(hash) => Err(Rejected::Replayed),
            _ => Ok(request),
        }
    }

    /// From now on this packet was seen.
    pub(super) fn take(
        &self,
        packet: &[u8; NETWORK_BYTES],
        request: &NetworkRequest,
    ) -> Result<(), Rejected> {
        match hash_of(packet, request) {
            Some(hash) if !self.seen().is_new(hash) => Err(Rejected::Replayed),
            _ => Ok(()),
        }
    }

    /// Asks, and tells the answer.
    pub(super) async fn answer(
        &self,
        stream: &mut dyn Stream,
        caller: &Caller,
        known: &Known,
        request: &NetworkRequest,
    ) -> Result<(), Rejected> {
        let question = Question { op: request.op, target: request.target.clone(), patience: PATIENCE };
        let answer = ask(&self.agent, caller, &known.quota, &question).await;
        tell(stream, &answer).await
    }

    /// The peer at this place, if it is one.
    pub(super) fn known(&self, whence: Whence) -> Option<&Known> {
        let known = self.peers.get(&whence);
        if known.is_none()
            && let Some(left_out) = self.strangers.take()
        {
            let left_out = Some(left_out).filter(|count| *count > 0);
            tracing::warn!(target: "audit", %whence, left_out, "no configured peer: refused unread");
        }
        known
    }

    /// Who the administrator says that it is.
    pub(super) async fn caller(&self, rule: &PeerRule, dialect: Dialect) -> Result<Caller, Stranger> {
        match &rule.whom {
            Whom::Guest(target) => {
                let domains = self.agent.domains();
                let domain = domains.find(target).ok_or(Stranger::NotRunning)?;
                let _met = self.agent.hypervisor.instance_read(domain).await; // known as long as it is held
                Guest::behind(&*self.agent.hypervisor, domain, dialect).map(Caller::Guest)
            }
            Whom::Cluster(label) => {
                let name = rule.whence.to_string().parse().map_err(|_| Stranger::NotRunning)?;
                Ok(Caller::Peer(Peer::new(name, label.clone(), dialect)))
            }
        }
    }
}

impl Known {
    pub(super) fn rule(&self) -> &PeerRule {
        &self.rule
    }

    /// A place, if it may ask now; held until its request is answered.
    pub(super) fn enter(&self) -> Option<Arc<()>> {
        let place = self.under_way.clone();
        let has_room = Arc::strong_count(&place) <= AT_A_TIME + 1;
        let passes = self.requests.lock().unwrap_or_else(PoisonError::into_inner).pass();
        (has_room && passes).then_some(place)
    }

    pub(super) fn rejected(&self, dialect: Dialect, why: &Rejected) {
        self.tell(&self.quota, dialect, why);
    }

    /// The same for what only says that it comes from there: it does not take the lines of what does.
    pub(super) fn unproven(&self, dialect: Dialect, why: &Rejected) {
        self.tell(&self.unproven, dialect, why);
    }

    fn tell(&self, quota: &Quota, dialect: Dialect, why: &Rejected) {
        if let Some(left_out) = quota.take() {
            let (whence, dialect) = (self.rule.whence, dialect.legacy());
            let left_out = Some(left_out).filter(|count| *count > 0);
            tracing::warn!(target: "audit", peer = %whence, dialect, %why, left_out, "not answered");
        }
    }
}

/// A challenge of ours that waits for its answer.
pub(super) struct Issued<'a>(&'a Gate, Challenge);

impl Drop for Issued<'_> {
    fn drop(&mut self) {
        self.0.issued.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// What makes a packet another one than those before; `None` without a hash.
fn hash_of<'packet>(
    packet: &'packet [u8; NETWORK_BYTES],
    request: &NetworkRequest,
) -> Option<&'packet [u8; CHALLENGE_BYTES]> {
    packet.last_chunk().filter(|_| request.hash != Hash::None)
}
