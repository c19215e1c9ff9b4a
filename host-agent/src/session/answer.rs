//! What a session answers to each kind of request.
//!
//! In:  a guest and its request. Out: a reply, or one that is still to come.
//!
//! Invariant: a refusal of an unknown target and of a foreign one are the same bytes but for the id.

use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::{
    Ask, Body, GuestIdentity, Hello, Method, PROTOCOL, Power, Reason, Reply, Request, RequestError,
    RequestId, Ruling, Target, Verdict, limits,
};
use tokio::time::{Instant, sleep};

use super::heard::{Heard, Signatures};
use super::legacy::LastStruct;
use super::waiting::{Pending, Waiting};
use crate::agent::Agent;
use crate::audit::Quota;
use crate::domain::Domain;
use crate::identity::{Caller, Guest};
use crate::inventory::{glance, look};
use crate::list::Listing;
use crate::orders::{Taken, is_hasty};
use crate::policy::{Action, Claim, Permit, Refusal};
use crate::reply;
use crate::router::{Route, route};

/// How often a guest hears that its bytes are noise.
const BAD_FRAME_EVERY: Duration = Duration::from_secs(1);

/// What a session knows besides its channel.
pub(super) struct Session<'a> {
    pub(super) guest: &'a Guest,
    pub(super) agent: &'a Agent,
    pub(super) quota: &'a Quota,
    pub(super) signatures: Signatures,
    noise_told: Option<Instant>,
    /// The last question that came as a struct.
    pub(super) legacy: LastStruct,
}

impl<'a> Session<'a> {
    pub(super) fn new(guest: &'a Guest, agent: &'a Agent, quota: &'a Quota) -> Self {
        let (signatures, legacy) = (Signatures::new(), LastStruct::default());
        Self { guest, agent, quota, signatures, noise_told: None, legacy }
    }

    /// The target, if the policy allows this.
    pub(super) fn target(
        &self,
        guest: &Guest,
        action: Action,
        target: &Target,
    ) -> Result<Arc<Domain>, Refusal> {
        self.agent.rules().target(Claim { guest, action, target }, &self.agent.domains())
    }

    /// The permit to change the target's power, if the policy allows it.
    pub(super) fn permit(&self, guest: &Guest, power: Power, target: &Target) -> Result<Permit, Refusal> {
        self.agent.rules().permit(guest, power, target, &self.agent.domains())
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
        self.quota.refused(self.guest, request.ask.op(), &target, refusal);
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

    pub(super) fn hello(&mut self, id: RequestId) -> Reply {
        let ops = ["hello", "whoami", "monitor", "host-status", "list", "status", "off", "on", "reboot"];
        let hello = Hello {
            server: concat!("fence-vmchanneld ", env!("CARGO_PKG_VERSION")).into(),
            protocol: PROTOCOL,
            nonce: self.signatures.nonce_for_hello().to_string(),
            guest: self.identity(),
            ops: ops.map(Into::into).into(),
            line_bytes: limits::LINE_BYTES,
        };
        Reply { id, body: Body::Hello(hello) }
    }

    /// What the guest may be told of itself. Its label can be another than when it connected.
    fn identity(&self) -> GuestIdentity {
        let (name, uuid) = (self.guest.name().clone(), self.guest.uuid());
        let cluster = self.agent.domains().get(uuid).and_then(|domain| domain.cluster.clone());
        GuestIdentity { name, uuid, cluster }
    }

    pub(super) fn whoami(&self, id: RequestId) -> Reply {
        Reply { id, body: Body::Whoami(self.identity()) }
    }

    /// Whether this host could act now.
    pub(super) fn monitor(&self, id: RequestId) -> Reply {
        let able = self.agent.hypervisor.is_connected();
        let unable =
            || Verdict::failed(Reason::UnknownState, "the host's agent has no connection to libvirt");
        self.verdict(id, if able { Verdict::new(Ruling::Done) } else { unable() })
    }

    pub(super) fn list(&self, heard: &Heard<'_>, waiting: &mut Waiting) -> Option<Reply> {
        let request = &heard.request;
        if let Err(refusal) = self.agent.rules().may_ask(&heard.guest, Action::List, &self.agent.domains()) {
            return Some(self.refused(request, &refusal));
        }
        let listing = Listing::of(self.agent, Caller::Guest(self.guest.clone()));
        waiting
            .push(heard, Pending::List(request.id, Box::pin(listing.lines(request.id, heard.seal.clone()))))
    }

    pub(super) fn status(
        &self,
        heard: &Heard<'_>,
        domain: Arc<Domain>,
        waiting: &mut Waiting,
    ) -> Option<Reply> {
        let id = heard.request.id;
        let (hypervisor, known) = (self.agent.hypervisor.clone(), self.agent.inventory.clone());
        let uuid = Some(domain.uuid);
        let simulated = hypervisor.is_simulated();
        let reply = move |state| {
            let verdict = Verdict { uuid, simulated, ..reply::verdict_of_state(state) };
            Reply { id, body: Body::Verdict(verdict) }
        };
        match glance(&*hypervisor, &domain) {
            Some(state) => Some(reply(state)),
            None => {
                let looking = async move { reply(look(&*hypervisor, &known, &domain).await) };
                waiting.push(heard, Pending::Reply(id, Box::pin(looking)))
            }
        }
    }

    /// What was decided when this very request was accepted: its target may be gone since.
    pub(super) fn asked_before(&self, power: Power, heard: &Heard<'_>) -> Option<Pending> {
        let request = &heard.request;
        self.agent.rules().may_ask(&heard.guest, power.into(), &self.agent.domains()).ok()?;
        let taken = self.agent.orders.asked_before(self.guest.uuid(), power, request)?;
        Some(Pending::Taken(request.id, taken))
    }

    /// The answer to a request whose id was used before on this connection. Nothing is done twice: what is still to come
    /// comes, what is decided and kept is told again, and everything else has to be asked, and signed, anew.
    pub(super) fn repeated(&self, heard: &Heard<'_>, waiting: &mut Waiting) -> Option<Option<Reply>> {
        let request = &heard.request;
        match waiting.asked(request.id) {
            Some(asked) if *asked == request.ask => return Some(None),
            Some(_) => return Some(Some(self.refuse(request.id, Reason::BadRequest))),
            None if !heard.is_repeat => return None,
            None => {}
        }
        let decided = match &request.ask {
            Ask::Power(power, _) => self.asked_before(*power, heard),
            Ask::Hello
            | Ask::Whoami
            | Ask::Monitor
            | Ask::List
            | Ask::HostStatus
            | Ask::Status(_)
            | Ask::Explain(_) => None,
        };
        Some(match decided {
            Some(taken) => waiting.push(heard, taken),
            None => {
                let detail = Some("this signed request was taken before: ask anew, with a new id".into());
                let verdict = Verdict { detail, ..Verdict::refused(Reason::BadSignature) };
                Some(self.verdict(request.id, verdict))
            }
        })
    }

    /// The order that this permit becomes, after the delay that the client asked for; once it was accepted it has had that.
    pub(super) fn order(&self, permit: Permit, heard: &Heard<'_>) -> Pending {
        let request = &heard.request;
        let id = request.id;
        let simulated = self.agent.hypervisor.is_simulated();
        let at_once = move |verdict| Taken::Verdict(Verdict { simulated, ..verdict });
        let before = self.asked_before(permit.power(), heard);
        if *self.agent.stopping.borrow() {
            return before.unwrap_or_else(|| Pending::Taken(id, at_once(stopping())));
        }
        if request.method == Method::Cycle && permit.power() == Power::Reboot {
            let detail = "a reset inside a running process proves nothing: use method onoff";
            let verdict = Verdict { detail: Some(detail.into()), ..Verdict::refused(Reason::Unsupported) };
            return Pending::Taken(id, at_once(verdict));
        }
        let (Route::Here, orders) = (route(&permit), self.agent.orders.clone());
        if request.delay.is_zero() || before.is_some() || is_hasty(&permit, request) {
            return Pending::Taken(id, orders.accept(permit, request));
        }
        let (rules, domains) = (self.agent.policy.clone(), self.agent.inventory.clone());
        let (guest, request, target) =
            (heard.guest.clone().into_owned(), request.clone(), Target::Uuid(permit.target()));
        let is_stopping = self.agent.stopping.clone();
        let after_delay = async move {
            sleep(request.delay).await;
            // What was allowed before the delay may no longer be; what was accepted meanwhile, by another connection, is.
            let (rules, domains) = (rules.borrow().clone(), domains.borrow().clone());
            let permitted = match rules.permit(&guest, permit.power(), &target, &domains) {
                Ok(permit) if !*is_stopping.borrow() => return orders.accept(permit, &request),
                other => other,
            };
            let may_ask = rules.may_ask(&guest, permit.power().into(), &domains).is_ok();
            let before = || orders.asked_before(guest.uuid(), permit.power(), &request);
            match (permitted, may_ask.then(before).flatten()) {
                (_, Some(taken)) => taken,
                (Ok(_), None) => at_once(stopping()),
                (Err(refusal), None) => {
                    let quota = orders.quota(guest.uuid());
                    quota.refused(&guest, request.ask.op(), permit.name().as_str(), &refusal);
                    at_once(reply::verdict_of_refusal(&refusal))
                }
            }
        };
        Pending::Order(id, Box::pin(after_delay))
    }
}

fn stopping() -> Verdict {
    Verdict::failed(Reason::Stopping, "the host's agent is shutting down: ask again")
}
