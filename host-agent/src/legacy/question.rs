//! One question of a legacy client, whatever it came over.
//!
//! In:  who asks and what. Out: the answer, as a future of its own.
//!
//! Invariant: a permit is taken and its order accepted at once, in the order of the questions; only the answer is waited for, and
//! not for longer than its client waits.

use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::legacy::{Code, Op};
use fence_vmchannel_protocol::{Ask, Body, Item, Method, Power, Reason, Request, RequestId, Target, Verdict};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::time::timeout;

use super::code;
use crate::agent::Agent;
use crate::audit::Quota;
use crate::domain::Domain;
use crate::identity::Caller;
use crate::inventory::look;
use crate::list::Listing;
use crate::orders::Taken;
use crate::policy::{Action, Permit, Refusal};
use crate::router::{Route, route};

/// How long an answer may take that changes nothing. Later, its client may be gone and another one listen.
const LOOK: Duration = Duration::from_secs(3);

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// One code.
    Code(Code),
    /// A list.
    List(Vec<Item>),
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) op: Op,
    pub(crate) target: Option<Target>,
    /// How long an order may take.
    pub(crate) patience: Duration,
}

/// The answer that is to come.
pub(crate) type Coming = BoxFuture<'static, Answer>;

/// Asks.
pub(crate) fn ask(agent: &Agent, caller: &Caller, quota: &Quota, question: &Question) -> Coming {
    let asked = match (question.op, &question.target) {
        (Op::Monitor, _) => Ok(at_once(monitor(agent))),
        (Op::List, _) => list(agent, caller),
        // It does nothing, so it succeeds at nothing; and a name is needed for the rest.
        (Op::Null, _) | (_, None) => Ok(at_once(Code::Failure)),
        (Op::Status, Some(target)) => status(agent, caller, target),
        (Op::Off, Some(target)) => order(agent, caller, Power::Off, target, question.patience),
        (Op::On, Some(target)) => order(agent, caller, Power::On, target, question.patience),
        (Op::Reboot, Some(target)) => order(agent, caller, Power::Reboot, target, question.patience),
    };
    asked.unwrap_or_else(|refusal| {
        let target = question.target.as_ref().map(ToString::to_string).unwrap_or_default();
        quota.refused_for(&caller.asker(), question.op.word(), &target, &refusal);
        at_once(code::of_refusal(refusal.reason))
    })
}

fn at_once(code: Code) -> Coming {
    ready(Answer::Code(code)).boxed()
}

fn monitor(agent: &Agent) -> Code {
    if agent.hypervisor.is_connected() { Code::Success } else { Code::Failure }
}

fn list(agent: &Agent, caller: &Caller) -> Result<Coming, Refusal> {
    agent.rules().may_call(caller, Action::List, &agent.domains())?;
    let items = Listing::of(agent, caller.clone()).items();
    let answer = async move { timeout(LOOK, items).await.map_or(Answer::Code(Code::Failure), Answer::List) };
    Ok(answer.boxed())
}

fn status(agent: &Agent, caller: &Caller, target: &Target) -> Result<Coming, Refusal> {
    let domain: Arc<Domain> = agent.rules().target_for(caller, Action::Status, target, &agent.domains())?;
    let (hypervisor, known) = (agent.hypervisor.clone(), agent.inventory.clone());
    let answer = async move {
        let looked = timeout(LOOK, look(&*hypervisor, &known, &domain)).await;
        Answer::Code(code::of_state(looked.unwrap_or(Err(Reason::Timeout))))
    };
    Ok(answer.boxed())
}

fn order(
    agent: &Agent,
    caller: &Caller,
    power: Power,
    target: &Target,
    patience: Duration,
) -> Result<Coming, Refusal> {
    let permit = agent.rules().permit_for(caller, power, target, &agent.domains())?;
    let Some(request) = request(power, target, patience).filter(|_| !*agent.stopping.borrow()) else {
        return Ok(at_once(Code::Failure));
    };
    let taken = accept(agent, permit, &request);
    Ok(async move { Answer::Code(code::of_order(power, &verdict(taken, request.id).await)) }.boxed())
}

/// Every legacy request is a new one: its own number is no identity, and an answer from before is none to it.
fn request(power: Power, target: &Target, patience: Duration) -> Option<Request> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).ok()?;
    let (id, ask) = (RequestId::from_random(bits)?, Ask::Power(power, target.clone()));
    Some(Request { id, ask, timeout: patience, delay: Duration::ZERO, method: Method::OnOff })
}

fn accept(agent: &Agent, permit: Permit, request: &Request) -> Taken {
    let Route::Here = route(&permit);
    agent.orders.accept(permit, request)
}

/// The verdict, which comes before the request's own time is over.
async fn verdict(mut taken: Taken, id: RequestId) -> Verdict {
    loop {
        match taken.next(id).await.body {
            Body::Verdict(verdict) => return verdict,
            Body::Progress(..) | Body::Items(..) | Body::Hello(_) | Body::Whoami(_) | Body::HostStatus(_) => {
            }
        }
    }
}
