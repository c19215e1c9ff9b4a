//! Who comes in from a network, and what of it is taken.
//!
//! In:  a connection, or a packet. Out: a caller that is known by its configured address, and its question asked.
//!
//! Invariant: default deny; a peer has so many requests a second and so many at a time, and the log hears of the others within bounds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fence_vmchannel_protocol::legacy::{
    CHALLENGE_BYTES, Challenge, Hash, NETWORK_BYTES, NetworkRequest, SharedKey,
};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::exchange::{HANDSHAKE, Rejected, prove, tell};
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
use crate::policy::key_file;

/// How many requests of one peer are under way at a time.
const AT_A_TIME: usize = 8;

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
}

impl Gate {
    /// A gate with these settings.
    ///
    /// # Errors
    /// The key's file cannot be used.
    pub fn new(legacy: &Legacy, agent: &Agent) -> Result<Self, String> {
        let known = |rule: &PeerRule| {
            let (requests, quota) = (Mutex::new(Bucket::new(REQUESTS)), Quota::default());
            (rule.whence, Known { rule: rule.clone(), requests, under_way: Arc::default(), quota })
        };
        Ok(Self {
            agent: agent.clone(),
            key: read_key(legacy)?,
            hash: legacy.hash,
            auth: legacy.auth,
            callback_networks: legacy.callback_networks.clone(),
            peers: legacy.peers.iter().map(known).collect(),
            issued: Mutex::default(),
            seen: Mutex::default(),
            strangers: Quota::default(),
        })
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

    /// A connection, closed unread unless it is from a peer.
    pub(super) async fn on_stream(&self, mut stream: Box<dyn Stream>, whence: Whence, dialect: Dialect) {
        let Some((known, _place)) = self.enter(whence) else { return };
        let served = async {
            let caller = self.caller(&known.rule, dialect)?;
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
    pub(super) fn open(&self, packet: &[u8; NETWORK_BYTES]) -> Result<NetworkRequest, Rejected> {
        let request = NetworkRequest::open(packet, self.key.as_ref(), self.hash)?;
        let hash = packet.last_chunk::<CHALLENGE_BYTES>().filter(|_| request.hash != Hash::None);
        match hash {
            Some(hash) if !self.seen().is_new(hash) => Err(Rejected::Replayed),
            _ => Ok(request),
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

    /// The peer at this place, if it is one and may ask now.
    pub(super) fn enter(&self, whence: Whence) -> Option<(&Known, Arc<()>)> {
        let Some(known) = self.peers.get(&whence) else {
            if let Some(left_out) = self.strangers.take() {
                let left_out = Some(left_out).filter(|count| *count > 0);
                tracing::warn!(target: "audit", %whence, left_out, "no configured peer: refused unread");
            }
            return None;
        };
        let place = known.under_way.clone();
        let has_room = Arc::strong_count(&place) <= AT_A_TIME + 1;
        let passes = known.requests.lock().unwrap_or_else(PoisonError::into_inner).pass();
        (has_room && passes).then_some((known, place))
    }

    /// Who the administrator says that it is.
    pub(super) fn caller(&self, rule: &PeerRule, dialect: Dialect) -> Result<Caller, Stranger> {
        match &rule.whom {
            Whom::Guest(target) => {
                let domains = self.agent.domains();
                let domain = domains.find(target).ok_or(Stranger::NotRunning)?;
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

    pub(super) fn rejected(&self, dialect: Dialect, why: &Rejected) {
        if let Some(left_out) = self.quota.take() {
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

/// The shared key in its file.
///
/// # Errors
/// It cannot be read, others may read it, or it is empty.
pub(crate) fn read_key(legacy: &Legacy) -> Result<Option<SharedKey>, String> {
    let Some(file) = &legacy.key_file else { return Ok(None) };
    let told = |error: String| format!("legacy.key-file {}: {error}", file.display());
    let bytes = key_file::content(file).map_err(told)?;
    let key = SharedKey::try_from(bytes).map_err(|error| told(error.to_string()))?;
    if key.is_weak() {
        tracing::warn!(target: "legacy", file = %file.display(), "the shared key is shorter than 32 bytes: it can be guessed");
    }
    Ok(Some(key))
}
