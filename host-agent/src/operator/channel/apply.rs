//! Does the steps of a plan, or only tells them.
//!
//! In:  a [`Machine`] and its [`Step`]s. Out: a [`DomainReport`].
//!
//! Invariant: what was done before a step failed is told, and running the same command again goes on from there.

use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use super::machine::{LibvirtError, Machine};
use super::plan::{Change, NEXT_START, Scope, Step};
use super::report::{DomainReport, Outcome, StepReport};
use super::socket::appears;
use crate::control::{AskError, Question, ask};

/// How long the agent may take to make a socket.
const AGENT_PATIENCE: Duration = Duration::from_secs(1);

/// Does the steps in order until one fails.
pub(super) fn apply(machine: &Machine, steps: &[Step], control: &Path) -> DomainReport {
    let mut report = DomainReport::of(&machine.known);
    for step in steps {
        if report.failed() {
            report.steps.push(StepReport::new(step, Outcome::NotTried, "not tried".into()));
            continue;
        }
        let (outcome, text) = match try_step(machine, step, control) {
            Ok(done) => done,
            Err(error) => (
                Outcome::Failed,
                format!("failed: {error}; mend this and run the same command again, it goes on from here"),
            ),
        };
        report.steps.push(StepReport::new(step, outcome, text));
    }
    report
}

/// Only tells the steps.
pub(super) fn rehearse(machine: &Machine, steps: &[Step]) -> DomainReport {
    let mut report = DomainReport::of(&machine.known);
    report.steps = steps
        .iter()
        .map(|step| match idle(&step.change) {
            Some((outcome, text)) => StepReport::new(step, outcome, text),
            None => StepReport::new(step, Outcome::WouldChange, format!("would be {}", done(&step.change))),
        })
        .collect();
    report
}

fn try_step(machine: &Machine, step: &Step, control: &Path) -> Result<(Outcome, String), LibvirtError> {
    let scope = step.scope;
    match &step.change {
        Change::Already(_) | Change::Later(_) => {}
        Change::Attach { xml, socket } if scope == Scope::Live => {
            return attach_live(machine, xml, socket.as_deref(), control);
        }
        Change::Attach { xml, .. } => machine.attach(scope, xml)?,
        Change::Detach { xml } => machine.detach(scope, xml)?,
        Change::SetCluster { cluster, .. } => machine.set_cluster(scope, Some(cluster))?,
        Change::ClearCluster { .. } => machine.set_cluster(scope, None)?,
    }
    Ok(idle(&step.change).unwrap_or_else(|| (Outcome::Done, done(&step.change))))
}

/// QEMU connects at once, so the agent's socket must be there. What does not work live will do at the next start.
fn attach_live(
    machine: &Machine,
    xml: &str,
    socket: Option<&Path>,
    control: &Path,
) -> Result<(Outcome, String), LibvirtError> {
    let later = |why: String| (Outcome::Later, format!("not now: {why}; or else it {NEXT_START}"));
    if let Some(why) = socket.and_then(|socket| missing(machine.known.uuid, socket, control)) {
        return Ok(later(why));
    }
    match machine.attach(Scope::Live, xml) {
        Ok(()) => Ok((Outcome::Done, "added".into())),
        Err(error) if machine.known.persistent.is_some() => Ok(later(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Why the agent's socket is not there; waits only for an agent that runs.
fn missing(domain: Uuid, socket: &Path, control: &Path) -> Option<String> {
    let runs = !matches!(ask(control, &Question::Look { domain }), Err(AskError::NotRunning { .. }));
    let patience = if runs { AGENT_PATIENCE } else { Duration::ZERO };
    let (there, socket) = (appears(socket, patience), socket.display());
    match runs {
        _ if there => None,
        true => Some(format!("the agent has not made {socket} yet: run this again, or look at its log")),
        false => {
            Some(format!("the agent is not running (there is no {socket}): start it and run this again"))
        }
    }
}

fn idle(change: &Change) -> Option<(Outcome, String)> {
    match change {
        Change::Already(text) => Some((Outcome::Already, text.clone())),
        Change::Later(text) => Some((Outcome::Later, format!("not now: {text}"))),
        Change::Attach { .. }
        | Change::Detach { .. }
        | Change::SetCluster { .. }
        | Change::ClearCluster { .. } => None,
    }
}

fn done(change: &Change) -> String {
    match change {
        Change::Attach { .. } => "added".into(),
        Change::Detach { .. } => "removed".into(),
        Change::SetCluster { cluster, before: None } => format!("set to {cluster:?}"),
        Change::SetCluster { cluster, before: Some(before) } => {
            format!("set to {cluster:?} (was {before:?})")
        }
        Change::ClearCluster { before } => format!("removed (was {before:?})"),
        Change::Already(text) | Change::Later(text) => text.clone(),
    }
}
