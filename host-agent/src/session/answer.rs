//! What a session answers to each kind of request.
//!
//! In:  a guest and its request. Out: a reply, or one that is still to come.
//!
//! Invariant: a refusal of an unknown target and of a foreign one are the same bytes but for the id.

use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::{
    Body, Hello, Item, Method, PROTOCOL, Power, PowerState, Reason, Reply, Request, RequestError, RequestId,
    Ruling, Target, Verdict, limits,
};
use tokio::time::{Instant, sleep};

use super::waiting::{Pending, Waiting};
use crate::agent::Agent;
use crate::audit::Quota;
use crate::domain::Domain;
use crate::identity::Guest;
use crate::inventory::{Seen, glance, look};
use crate::orders::Taken;
use crate::policy::{Action, Claim, Permit, Refusal};
use crate::reply;
use crate::router::{Route, route};

/// How often a guest hears that its bytes are noise.
const BAD_FRAME_EVERY: Duration = Duration::from_secs(1);

/// What a session knows besides its channel.
pub(super) struct Session<'a> {
    pub(super) guest: &'a Guest,
    pub(super) agent: &'a Agent,
    quota: &'a Quota,
    nonce: String,
    noise_told: Option<Instant>,
}

impl<'a> Session<'a> {
    pub(super) fn new(guest: &'a Guest, agent: &'a Agent, quota: &'a Quota) -> Self {
        Self { guest, agent, quota, nonce: nonce(), noise_told: None }
    }

    /// The target, if the policy allows this.
    pub(super) fn target(&self, action: Action, target: &Target) -> Result<Arc<Domain>, Refusal> {
        self.agent.rules().target(Claim { guest: self.guest, action, target }, &self.agent.domains())
    }

    /// The permit to change the target's power, if the policy allows it.
    pub(super) fn permit(&self, power: Power, target: &Target) -> Result<Permit, Refusal> {
        self.agent.rules().permit(self.guest, power, target, &self.agent.domains())
    }

    fn verdict(&self, id: RequestId, verdict: Verdict) -> Reply {
        let simulated = self.agent.hypervisor.is_simulated();
        Reply { id, body: Body::Verdict(Verdict { simulated, ..verdict }) }
    }

    pub(super) fn refuse(&self, id: RequestId, reason: Reason) -> Reply {
        self.verdict(id, Verdict::refused(reason))
    }

    pub(super) fn refused(&self, request: &Request, refusal: &Refusal) -> Reply {
        let target = request.ask.target().map(ToString::to_string).unwrap_or_default();
        self.quota.refused(self.guest, &format!("{} {target}", request.ask.op()), refusal);
        self.verdict(request.id, reply::verdict_of_refusal(refusal))
    }

    pub(super) fn bad_request(&self, error: &RequestError) -> Reply {
        let verdict = Verdict { detail: Some(error.what.clone()), ..Verdict::refused(Reason::BadRequest) };
        self.verdict(error.id, verdict)
    }

    pub(super) fn bad_frame(&mut self) -> Option<Reply> {
        let silent = self.noise_told.is_some_and(|told| told.elapsed() < BAD_FRAME_EVERY);
        self.noise_told = if silent { self.noise_told } else { Some(Instant::now()) };
        (!silent).then(|| self.refuse(RequestId::NONE, Reason::BadFrame))
    }

    pub(super) fn hello(&self, id: RequestId) -> Reply {
        let ops = ["hello", "whoami", "monitor", "list", "status", "off", "on", "reboot"];
        let hello = Hello {
            server: concat!("fence-vmchanneld ", env!("CARGO_PKG_VERSION")).into(),
            protocol: PROTOCOL,
            nonce: self.nonce.clone(),
            guest: self.guest.identity(),
            ops: ops.map(Into::into).into(),
            line_bytes: limits::LINE_BYTES,
        };
        Reply { id, body: Body::Hello(hello) }
    }

    pub(super) fn whoami(&self, id: RequestId) -> Reply {
        Reply { id, body: Body::Whoami(self.guest.identity()) }
    }

    /// Whether this host could act now.
    pub(super) fn monitor(&self, id: RequestId) -> Reply {
        let able = self.agent.hypervisor.is_connected();
        let unable =
            || Verdict::failed(Reason::UnknownState, "the host's agent has no connection to libvirt");
        self.verdict(id, if able { Verdict::new(Ruling::Done) } else { unable() })
    }

    pub(super) fn list(&self, id: RequestId) -> Vec<Vec<u8>> {
        let (domains, rules) = (self.agent.domains(), self.agent.rules());
        let source = domains.get(self.guest.uuid());
        let may_see =
            |domain: &Domain| source.is_some_and(|by| rules.decide(by, Action::List, domain).allowed);
        let visible = domains.iter().filter(|domain| may_see(domain));
        let mut items: Vec<Item> = visible
            .map(|domain| Item {
                name: domain.name.clone(),
                uuid: domain.uuid,
                state: match glance(&*self.agent.hypervisor, domain) {
                    Seen::State(state) => Some(state),
                    Seen::Nothing(_) | Seen::Ask => None,
                },
            })
            .collect();
        items.sort_by(|one, other| one.name.cmp(&other.name));
        Reply::list_lines(id, items).unwrap_or_default()
    }

    pub(super) fn status(&self, id: RequestId, domain: Arc<Domain>, waiting: &mut Waiting) -> Option<Reply> {
        let verdict = |uuid, state: Result<PowerState, Reason>| Verdict {
            uuid: Some(uuid),
            ..reply::verdict_of_state(state)
        };
        match glance(&*self.agent.hypervisor, &domain) {
            Seen::State(state) => Some(self.verdict(id, verdict(domain.uuid, Ok(state)))),
            Seen::Nothing(reason) => Some(self.verdict(id, verdict(domain.uuid, Err(reason)))),
            Seen::Ask => {
                let hypervisor = self.agent.hypervisor.clone();
                waiting.order(Pending::Reply(
                    id,
                    Box::pin(async move {
                        let state = look(&*hypervisor, &domain).await;
                        Reply { id, body: Body::Verdict(verdict(domain.uuid, state)) }
                    }),
                ))
            }
        }
    }

    /// The order that this permit becomes, after the delay that the client asked for.
    pub(super) fn order(&self, permit: Permit, request: Request) -> Pending {
        let id = request.id;
        if *self.agent.stopping.borrow() {
            let stopping = Verdict::failed(Reason::Stopping, "the host's agent is shutting down: ask again");
            return Pending::Taken(id, Taken::Verdict(stopping));
        }
        if request.method == Method::Cycle && permit.power() == Power::Reboot {
            let detail = "a reset inside a running process proves nothing: use method onoff";
            let verdict = Verdict { detail: Some(detail.into()), ..Verdict::refused(Reason::Unsupported) };
            return Pending::Taken(id, Taken::Verdict(verdict));
        }
        let (Route::Here, orders) = (route(&permit), self.agent.orders.clone());
        if request.delay.is_zero() {
            return Pending::Taken(id, orders.accept(permit, &request));
        }
        Pending::Order(
            id,
            Box::pin(async move {
                sleep(request.delay).await;
                orders.accept(permit, &request)
            }),
        )
    }
}

/// The connection's random number, 32 hex digits.
fn nonce() -> String {
    let mut bits = [0; 16];
    if getrandom::fill(&mut bits).is_err() {
        tracing::error!("the kernel gives no random numbers");
    }
    bits.iter().map(|byte| format!("{byte:02x}")).collect()
}
