//! Guests with keys, and a program in one that signs what it asks.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::signing::{Direction, Key, KeyId, Nonce};
use fence_vmchannel_protocol::{Body, Decoder, Frame, Reply, Request, Verdict};

use crate::agent::{Agent, domain};
use crate::guest::Guest;

/// web1 to web3 of one cluster. web1 has the keys `cluster`, for everything, and `monitoring`, to look only; web2 has a
/// key `cluster` of its own; web3 has none and signs nothing.
pub(crate) struct Scene {
    pub(crate) agent: Agent,
    pub(crate) keys: tempfile::TempDir,
}

pub(crate) const RULES: &str = "[[signed]]
from = ['web1']
keys = [
  { id = 'cluster', file = 'web1.cluster.key' },
  { id = 'monitoring', file = 'web1.monitoring.key', actions = ['status', 'list'] },
]
[[signed]]
from = ['web2']
keys = [{ id = 'cluster', file = 'web2.cluster.key' }]
";

impl Scene {
    pub(crate) async fn set() -> Self {
        Self::set_with(["web1", "web2", "web3"].map(|name| domain(name, "web")).to_vec()).await
    }

    pub(crate) async fn set_with(domains: Vec<Entry>) -> Self {
        let (agent, keys) = (Agent::with_domains(domains).await, tempfile::tempdir().unwrap());
        for name in ["web1.cluster", "web1.monitoring", "web2.cluster"] {
            let file = keys.path().join(format!("{name}.key"));
            write(&file, secret(name)).unwrap();
            set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        }
        agent.has_rules_in(&keys, RULES);
        Self { agent, keys }
    }

    pub(crate) async fn signer(&self, guest: &str, key: &str) -> Signer {
        let mut guest_end = self.agent.guest(guest).await;
        let nonce = guest_end.asks_hello().await.nonce.parse().unwrap();
        let bytes = secret(&format!("{guest}.{key}"));
        Signer { guest: guest_end, id: key.parse().unwrap(), key: Key::of_file(&bytes).unwrap(), nonce }
    }
}

pub(crate) fn secret(name: &str) -> Vec<u8> {
    format!("the secret of {name}, which nobody knows\n").into_bytes()
}

/// A program in a guest that has one of the guest's keys.
pub(crate) struct Signer {
    pub(crate) guest: Guest,
    pub(crate) id: KeyId,
    pub(crate) key: Key,
    pub(crate) nonce: Nonce,
}

impl Signer {
    pub(crate) fn line(&self, request: &Request) -> Vec<u8> {
        self.key.seal_request(&self.id, &self.nonce, request).unwrap()
    }

    /// The next reply, which must be signed with this key and under this nonce.
    pub(crate) async fn hears(&mut self) -> Reply {
        let line = self.guest.hears_line().await;
        let Some(Frame::Signed(signed)) = Decoder::default().push(&mut line.as_slice()) else {
            panic!("not signed: {}", String::from_utf8_lossy(&line))
        };
        assert_eq!(signed.key(), &self.id);
        Reply::parse(&signed.open(&self.key, &self.nonce, Direction::Reply).unwrap()).unwrap()
    }

    pub(crate) async fn verdict_of(&mut self, request: &Request) -> Verdict {
        loop {
            let reply = self.hears().await;
            assert_eq!(reply.id, request.id);
            match reply.body {
                Body::Progress(..) => {}
                Body::Verdict(verdict) => return verdict,
                Body::Items(..) | Body::Hello(_) | Body::Whoami(_) | Body::HostStatus(_) => {
                    panic!("a verdict was asked for")
                }
            }
        }
    }

    pub(crate) async fn asks(&mut self, request: &Request) -> Verdict {
        let line = self.line(request);
        self.guest.says(&line);
        self.verdict_of(request).await
    }
}
