//! Does the host's answer prove what the caller wants to know?
//!
//! In:  what was asked, what was answered. Out: a [`Finding`].
//!
//! Invariant: `off` and `reboot` succeed only with evidence, whatever else the host says.

use fence_vmchannel_protocol::{
    Ask, GuestIdentity, Item, Power, PowerState, Reason, Ruling, Target, Verdict,
};

use super::host_status;
use super::reason::{Explanation, explain};
use super::{Exit, Finding};
use crate::action::Action;
use crate::listener::Answer;

/// What is said about answers of `run --simulate`.
pub(super) const SIMULATED: &str = "simulated: no real machine stands behind this answer";

pub(crate) fn judge(action: Action, ask: &Ask, answer: Answer) -> Finding {
    match (ask, answer) {
        (Ask::List, Answer::Items(items)) => {
            let lines = items.iter().map(|item| list_line(action, item)).collect();
            Finding::list(items, lines)
        }
        (Ask::Whoami, Answer::Whoami(guest)) => Finding::success(vec![introduce(&guest)]),
        (Ask::Hello, Answer::Hello(hello)) => Finding::success(vec![
            format!("{}, protocol {}", hello.server, hello.protocol),
            introduce(&hello.guest),
            format!("it can be asked: {}", hello.ops.join(", ")),
        ]),
        (Ask::HostStatus, Answer::HostStatus(status)) => host_status::found(*status),
        (ask, Answer::Verdict(verdict)) => {
            let mut finding = match verdict.ruling {
                Ruling::Done => done(ask, &verdict),
                Ruling::Refused(reason) => not_done("was refused", reason, action, ask, &verdict),
                Ruling::Failed(reason) => not_done("failed", reason, action, ask, &verdict),
            };
            if verdict.simulated {
                finding.complaints.push(SIMULATED.to_owned());
            }
            finding.verdict = Some(verdict);
            finding
        }
        (_, Answer::Items(_) | Answer::Whoami(_) | Answer::Hello(_) | Answer::HostStatus(_)) => {
            Finding::failure("the host answered something that was not asked".to_owned())
        }
    }
}

/// A monitor of a host that is well, and whom it lists for this guest. Whoever monitors a fence device wants to know whether
/// that could fence.
pub(crate) fn whom(monitor: Finding, list: Answer) -> Finding {
    let what = match judge(Action::List, &Ask::List, list) {
        Finding { exit: Exit::Success, items, .. } if !items.is_empty() => return monitor,
        Finding { exit: Exit::Success, .. } => Finding::failure(
            "the host is able to act, but this guest may fence nobody: it lists no virtual machine for it"
                .to_owned(),
        )
        .and(Some(
            "see this guest's cluster label, and the action list in the policy, on the host".to_owned(),
        )),
        refused => {
            let Finding { exit, complaints, .. } = refused;
            let first = "the host is able to act, but does not tell whom this guest may fence".to_owned();
            Finding { exit, complaints: [vec![first], complaints].concat(), ..Finding::success(Vec::new()) }
        }
    };
    Finding { complaints: [monitor.complaints, what.complaints].concat(), exit: what.exit, ..monitor }
}

fn done(ask: &Ask, verdict: &Verdict) -> Finding {
    if let (Some(Target::Uuid(asked)), Some(told)) = (ask.target(), verdict.uuid)
        && *asked != told
    {
        return Finding::failure(format!("the host answered about {told}, not about {asked}"));
    }
    match ask {
        Ask::Power(power @ (Power::Off | Power::Reboot), target) => stopped(*power, target, verdict),
        Ask::Power(Power::On, target) => match verdict.state {
            Some(PowerState::On) => Finding::success(vec![format!("{target} is on")]),
            Some(PowerState::Off) | None => {
                Finding::failure(format!("the host did not say that {target} is on"))
            }
        },
        Ask::Status(target) => match verdict.state {
            Some(PowerState::On) => Finding::success(vec![format!("{target} is on")]),
            Some(PowerState::Off) => {
                Finding { exit: Exit::Off, ..Finding::success(vec![format!("{target} is off")]) }
            }
            None => Finding::failure(format!("the host did not say whether {target} is on or off")),
        },
        Ask::Monitor => Finding::success(Vec::new()),
        Ask::Hello | Ask::Whoami | Ask::List | Ask::HostStatus | Ask::Explain(_) => {
            Finding::failure("the host answered, but not what was asked".to_owned())
        }
    }
}

/// `off` and `reboot`: the one place where a target is believed to be stopped.
fn stopped(power: Power, target: &Target, verdict: &Verdict) -> Finding {
    let Some(evidence) = verdict.evidence else {
        return Finding::failure(format!(
            "the host did not say how it knows that {target} is off: not believed; see the host agent's log"
        ));
    };
    let took = verdict.took.map(|took| format!(", {} ms", took.as_millis())).unwrap_or_default();
    match (power, verdict.state) {
        (Power::Off, Some(PowerState::Off)) => {
            Finding::success(vec![format!("{target} is off ({evidence}{took})")])
        }
        (Power::Reboot, Some(PowerState::On)) => {
            Finding::success(vec![format!("{target} was off ({evidence}{took}) and is on again")])
        }
        (Power::Reboot, Some(PowerState::Off) | None) => {
            let detail = verdict
                .detail
                .as_deref()
                .unwrap_or("it is off, but the host does not say that it is on again");
            let warning = format!("warning: {target}: {}", printable(detail));
            let told = vec![format!("{target} was off ({evidence}{took})")];
            Finding { complaints: vec![warning], ..Finding::success(told) }
        }
        (Power::Off | Power::On, _) => Finding::failure(format!("the host did not say that {target} is off")),
    }
}

fn not_done(word: &str, reason: Reason, action: Action, ask: &Ask, verdict: &Verdict) -> Finding {
    let target = ask.target().map(ToString::to_string).unwrap_or_default();
    let what = format!("{} {target}", action.word());
    let detail = verdict.detail.as_ref().map(|detail| format!("; {}", printable(detail))).unwrap_or_default();
    let Explanation { why, next } = explain(reason, action, &target);
    let first = format!("{} {word}: {reason} ({why}{detail})", what.trim_end());
    let finding = match (verdict.ruling, reason) {
        (Ruling::Refused(_), Reason::NotPermitted | Reason::Condemned | Reason::BadSignature) => {
            Finding::denied(first)
        }
        _ => Finding::failure(first),
    };
    finding.and(Some(next))
}

/// `list`: `name,uuid`. `list-status`: `name,uuid,on|off|unknown`: the fields of the fence-agents family in the words
/// that fence_virt and this protocol use for the state.
pub(crate) fn list_line(action: Action, item: &Item) -> String {
    let line = format!("{},{}", item.name, item.uuid);
    if action != Action::ListStatus {
        return line;
    }
    format!("{line},{}", item.state.map_or("unknown", PowerState::word))
}

fn introduce(guest: &GuestIdentity) -> String {
    let cluster = guest.cluster.as_deref().unwrap_or("-");
    format!("this guest is {} {} of cluster {}", guest.name, guest.uuid, printable(cluster))
}

/// The host is trusted, but a terminal need not be.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
