//! One order on one target, as a state machine without I/O.
//!
//! In:  [`Event`]s. Out: the next state, the [`Step`] to take, at the end an [`Outcome`].
//!
//! Invariant: total (every event is answered in every state), and the only way to [`Outcome::Off`] is a [`Proof`].
//! What libvirt returns is no evidence, either way.

mod evidence;

use fence_vmchannel_protocol::{Phase, Power, Reason};

use crate::domain::Standing;
pub use evidence::Proof;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look whether and how the target runs.
    Look,
    /// Abort its migration.
    AbortJob,
    /// Ask libvirt to stop it, and start the grace.
    Stop,
    /// libvirt has not stopped it: ask at once whether it migrates by now.
    LookAgain,
    /// Send SIGKILL to its process.
    Kill,
    /// Ask libvirt how it ended, once it answers.
    Confirm,
    /// Start it.
    Start,
}

impl Step {
    /// Whether it changes anything.
    #[must_use]
    pub fn acts(self) -> bool {
        matches!(self, Self::Stop | Self::Kill | Self::Start)
    }

    /// Whether somebody has to want it still: also who aborts a migration has done something.
    #[must_use]
    pub fn is_felt(self) -> bool {
        self.acts() || self == Self::AbortJob
    }
}

/// How the target is, as [`Step::Look`] found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A process runs, libvirt answers, no migration.
    Running,
    /// A process runs and is being migrated away.
    Leaving,
    /// A process waits for its domain to arrive from another host, which runs it.
    Arriving,
    /// A process is just ending, and libvirt does not call its domain running any more.
    Ending,
    /// A process runs, and libvirt does not answer or has lost sight of it.
    Unattended,
    /// No process is known; libvirt's word and whether any process has its UUID.
    NotRunning(Standing, Option<Proof>),
    /// libvirt does not know it, and no process has its UUID.
    Forgotten,
    /// Its process could not be looked for.
    Unseen,
    /// Nothing could be learned.
    Nothing(String),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The look is over.
    Found(Found),
    /// The job was aborted, or not.
    JobAborted(Result<(), String>),
    /// libvirt's stop returned.
    StopReturned(Result<(), String>),
    /// The process that was to be stopped is gone; `true` if another one runs in its place.
    ProcessGone(Proof, bool),
    /// It was a while ago that libvirt said it does not migrate: it could have been migrated since.
    LookIsOld,
    /// libvirt did not stop it in time.
    GraceOver,
    /// How it is now that libvirt has not stopped it.
    FoundAgain(Found),
    /// SIGKILL could not be sent.
    KillFailed(String),
    /// How the target ended, by libvirt's fresh word.
    Confirmed(Result<Standing, String>),
    /// libvirt does not know it any more, and its call to stop it, which was under way to the end, said that it did.
    StoppedAndForgotten,
    /// Somebody started it while libvirt was asked how it ended.
    RunsAgain,
    /// libvirt was asked how it ended and has not answered for a while.
    LibvirtIsSilent,
    /// libvirt does not answer.
    Unconfirmable(String),
    /// The target runs.
    Started,
    /// The target was not started.
    StartFailed(String),
    /// What is about to be done must not be: it cannot be written into the journal, or nobody wants it any more.
    NotBegun(Reason, String),
    /// The order's time is over.
    DeadlinePassed,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target is off.
    Off(Proof),
    /// The target was off, seen, and was started again, or why not.
    Restarted(Proof, Result<(), String>),
    /// The target runs.
    On,
    /// It could not be done, or not proven.
    Failed(Reason, String),
}

/// What else the end of the target's process may mean than that it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// Nothing: libvirt has just said that it does not migrate.
    None,
    /// That was a while ago: it may have moved since.
    Old,
    /// It was ending already, for whatever reason.
    Ending,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// With what was proven before the agent was restarted, if anything was.
    Looking(Option<Proof>),
    Aborting,
    Stopping {
        doubt: Doubt,
    },
    /// It is about to be killed, and may have begun to migrate since it was looked at.
    LookingAgain,
    Killing {
        doubt: Doubt,
        trouble: Option<String>,
    },
    Confirming {
        proof: Proof,
        doubt: Doubt,
        killed: bool,
    },
    Starting(Option<Proof>),
    Done(Outcome),
}

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    power: Power,
    /// libvirt had its time to stop this process.
    grace_is_over: bool,
    state: State,
}

use Event::{
    Confirmed, DeadlinePassed, FoundAgain, GraceOver, JobAborted, KillFailed, LibvirtIsSilent, LookIsOld,
    NotBegun, ProcessGone, RunsAgain, StartFailed, Started, StopReturned, StoppedAndForgotten, Unconfirmable,
};
use State::{Aborting, Confirming, Done, Killing, Looking, LookingAgain, Starting, Stopping};

impl Order {
    /// A fresh order and its first step.
    #[must_use]
    pub fn new(power: Power) -> (Self, Step) {
        Self::again(power, None)
    }

    /// An order of before a restart, and what was proven then.
    #[must_use]
    pub fn again(power: Power, proof: Option<Proof>) -> (Self, Step) {
        (Self { power, grace_is_over: false, state: Looking(proof) }, Step::Look)
    }

    /// How it ended, once it did.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        if let Done(outcome) = &self.state { Some(outcome) } else { None }
    }

    /// What proves that the target is off, once it is.
    #[must_use]
    pub fn proof(&self) -> Option<Proof> {
        match &self.state {
            Looking(proof) | Starting(proof) => *proof,
            Done(Outcome::Off(proof) | Outcome::Restarted(proof, _)) => Some(*proof),
            Aborting | Stopping { .. } | LookingAgain | Killing { .. } | Confirming { .. } | Done(_) => None,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            Looking(_) | Aborting | Done(_) => Phase::Accepted,
            Stopping { .. } | LookingAgain | Confirming { .. } => Phase::Stopping,
            Killing { .. } => Phase::Killing,
            Starting(_) => Phase::Starting,
        }
    }

    /// The next state and what to do in it.
    #[must_use]
    pub fn on(self, event: Event) -> (Self, Option<Step>) {
        let power = self.power;
        let ended = matches!(event, GraceOver | StopReturned(Err(_))) && self.outcome().is_none();
        let is_another = matches!(event, RunsAgain | ProcessGone(_, true));
        let grace_is_over = (self.grace_is_over || ended) && !is_another;
        let (state, step) = match (self.state, event) {
            (Done(outcome), _) => (Done(outcome), None),

            (Looking(None), Event::Found(Found::Running)) if grace_is_over && power != Power::On => {
                (Killing { doubt: Doubt::None, trouble: None }, Some(Step::Kill))
            }
            (Looking(None), Event::Found(found)) => after_look(power, found),
            (Looking(Some(proof)), Event::Found(found)) => after_restart(proof, found),
            // It runs on here, or it moved, or it ended.
            (Aborting, JobAborted(Ok(()))) => (Looking(None), Some(Step::Look)),
            (Aborting, JobAborted(Err(why))) => failed(Reason::Moved, format!("it is migrating: {why}")),

            (
                Stopping { doubt: Doubt::None } | Killing { doubt: Doubt::None, .. },
                ProcessGone(proof, false),
            ) => off(power, proof),
            // The source's process also ends when a migration succeeds: only libvirt knows which it was.
            (Stopping { doubt }, ProcessGone(proof, false)) => {
                (Confirming { proof, doubt, killed: false }, Some(Step::Confirm))
            }
            (LookingAgain, ProcessGone(proof, false)) => {
                (Confirming { proof, doubt: Doubt::Old, killed: false }, Some(Step::Confirm))
            }
            (Killing { doubt, trouble }, ProcessGone(proof, false)) => {
                (Confirming { proof, doubt, killed: trouble.is_none() }, Some(Step::Confirm))
            }
            (Stopping { doubt: Doubt::None }, LookIsOld) => (Stopping { doubt: Doubt::Old }, None),
            (Killing { doubt: Doubt::None, trouble }, LookIsOld) => {
                (Killing { doubt: Doubt::Old, trouble }, None)
            }
            // Somebody restarted it meanwhile: that process is to be stopped too.
            (Confirming { .. }, RunsAgain | ProcessGone(_, true)) => (Looking(None), Some(Step::Look)),
            (Stopping { .. } | LookingAgain | Killing { .. }, ProcessGone(_, true)) => {
                (Looking(None), Some(Step::Look))
            }

            (Stopping { doubt: Doubt::Old }, GraceOver | StopReturned(Err(_))) => {
                (LookingAgain, Some(Step::LookAgain))
            }
            (LookingAgain, FoundAgain(found)) => after_second_look(power, found),
            (Stopping { doubt }, GraceOver | StopReturned(Err(_))) => {
                (Killing { doubt, trouble: None }, Some(Step::Kill))
            }
            (Killing { doubt, .. }, KillFailed(why)) => (Killing { doubt, trouble: Some(why) }, None),
            (Killing { trouble, .. }, DeadlinePassed) => failed(
                Reason::CannotKill,
                trouble.unwrap_or_else(|| "SIGKILL was sent and has no effect".into()),
            ),
            (Stopping { .. }, DeadlinePassed) => {
                failed(Reason::Timeout, "libvirt did not stop it in time".into())
            }

            (Aborting | Stopping { .. } | Killing { .. } | Starting(None), NotBegun(reason, why)) => {
                failed(reason, why)
            }
            (Starting(Some(proof)), NotBegun(_, why)) => (Done(Outcome::Restarted(proof, Err(why))), None),

            (Confirming { proof, .. }, Confirmed(Ok(Standing::ShutOff))) => off(power, proof),
            (Confirming { proof, doubt: Doubt::Old, .. }, StoppedAndForgotten) => off(power, proof),
            // It lived until it was sent SIGKILL, and there is no libvirt that could have moved it meanwhile.
            (Confirming { proof, doubt: Doubt::Old, killed: true }, Unconfirmable(_) | LibvirtIsSilent) => {
                off(power, proof)
            }
            (Confirming { .. }, Confirmed(Ok(Standing::Moved))) => {
                failed(Reason::Moved, "it moved to another host".into())
            }
            (
                Confirming { .. },
                Confirmed(Ok(Standing::Active | Standing::Leaving | Standing::Crashed | Standing::Unclear)),
            ) => {
                failed(Reason::UnknownState, "its process is gone, but libvirt does not say shut off".into())
            }
            (Confirming { .. }, Confirmed(Err(why)) | Unconfirmable(why)) => {
                failed(Reason::UnknownState, why)
            }
            (Confirming { .. }, StoppedAndForgotten) => {
                failed(Reason::UnknownState, "it was ending by itself, and libvirt has forgotten it".into())
            }

            (Starting(None), Started) => (Done(Outcome::On), None),
            (Starting(None), StartFailed(why)) => failed(Reason::StartFailed, why),
            (Starting(None), DeadlinePassed) => {
                failed(Reason::Timeout, "the start did not end in time".into())
            }
            (Starting(Some(proof)), Started) => (Done(Outcome::Restarted(proof, Ok(()))), None),
            (Starting(Some(proof)), StartFailed(why)) => (Done(Outcome::Restarted(proof, Err(why))), None),
            (Starting(Some(proof)), DeadlinePassed) => {
                (Done(Outcome::Restarted(proof, Err("the start did not end in time".into()))), None)
            }

            (Looking(Some(proof)), DeadlinePassed) => not_started(proof, "its state was not learned in time"),
            (Looking(None) | Aborting | LookingAgain | Confirming { .. }, DeadlinePassed) => {
                failed(Reason::Timeout, "its state was not learned in time".into())
            }
            // What comes late or out of turn changes nothing.
            (state, _) => (state, None),
        };
        (Self { power, grace_is_over, state }, step)
    }
}

fn after_look(power: Power, found: Found) -> (State, Option<Step>) {
    match (power, found) {
        (Power::On, Found::Running | Found::Leaving | Found::Arriving | Found::Unattended) => {
            (Done(Outcome::On), None)
        }
        (Power::On, Found::NotRunning(Standing::ShutOff, Some(_))) => (Starting(None), Some(Step::Start)),
        (Power::Off | Power::Reboot, Found::Running) => (Stopping { doubt: Doubt::None }, Some(Step::Stop)),
        (Power::Off | Power::Reboot, Found::Leaving) => (Aborting, Some(Step::AbortJob)),
        (Power::Off | Power::Reboot, Found::Ending) => (Stopping { doubt: Doubt::Ending }, Some(Step::Stop)),
        (Power::Off | Power::Reboot, Found::Arriving) => {
            failed(Reason::Moved, "it is arriving from another host, which may run it: fence it there".into())
        }
        (Power::Off | Power::Reboot, Found::Unattended) => {
            (Killing { doubt: Doubt::None, trouble: None }, Some(Step::Kill))
        }
        (Power::Off | Power::Reboot, Found::NotRunning(_, Some(proof))) => off(power, proof),
        (_, Found::NotRunning(Standing::Moved, _)) => {
            failed(Reason::Moved, "it moved to another host".into())
        }
        (_, Found::NotRunning(standing, _)) => failed(
            Reason::UnknownState,
            format!("libvirt says {standing:?}, which does not fit its processes"),
        ),
        (Power::On, Found::Ending) => failed(Reason::Busy, "it is just ending: ask again".into()),
        (_, Found::Forgotten) => failed(Reason::UnknownState, "libvirt does not know this domain".into()),
        (_, Found::Unseen) => failed(Reason::UnknownState, UNSEEN.into()),
        (_, Found::Nothing(why)) => failed(Reason::UnknownState, why),
    }
}

/// What libvirt does not stop is killed, unless it began to migrate meanwhile. Where libvirt is silent, the end of the process is
/// to be confirmed still.
fn after_second_look(power: Power, found: Found) -> (State, Option<Step>) {
    let kill = |doubt| (Killing { doubt, trouble: None }, Some(Step::Kill));
    match found {
        Found::Running => kill(Doubt::None),
        Found::Unattended | Found::Unseen | Found::Nothing(_) => kill(Doubt::Old),
        Found::Ending | Found::Forgotten | Found::NotRunning(..) => kill(Doubt::Ending),
        found @ (Found::Leaving | Found::Arriving) => after_look(power, found),
    }
}

/// A target that was proven off before the agent was restarted is started, unless it was already or has gone elsewhere.
fn after_restart(proof: Proof, found: Found) -> (State, Option<Step>) {
    match found {
        Found::NotRunning(Standing::ShutOff, Some(_)) | Found::Forgotten => {
            (Starting(Some(proof)), Some(Step::Start))
        }
        Found::Running | Found::Unattended => (Done(Outcome::Restarted(proof, Ok(()))), None),
        Found::Leaving | Found::Arriving | Found::NotRunning(Standing::Moved, _) => {
            not_started(proof, "it is another host's now")
        }
        Found::Ending => {
            not_started(proof, "it was started, and is not seen to run: it is still starting, or just ending")
        }
        Found::NotRunning(..) => not_started(proof, "what libvirt says does not fit its processes"),
        Found::Unseen => not_started(proof, UNSEEN),
        Found::Nothing(why) => not_started(proof, &why),
    }
}

const UNSEEN: &str = "its process could not be looked for";

fn not_started(proof: Proof, why: &str) -> (State, Option<Step>) {
    (Done(Outcome::Restarted(proof, Err(why.to_owned()))), None)
}

fn off(power: Power, proof: Proof) -> (State, Option<Step>) {
    match power {
        Power::Reboot => (Starting(Some(proof)), Some(Step::Start)),
        Power::Off | Power::On => (Done(Outcome::Off(proof)), None),
    }
}

fn failed(reason: Reason, why: String) -> (State, Option<Step>) {
    (Done(Outcome::Failed(reason, why)), None)
}

#[cfg(test)]
mod tests;
