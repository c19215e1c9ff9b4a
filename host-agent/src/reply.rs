//! What a guest may know of what was decided.
//!
//! In:  outcomes and refusals. Out: verdicts.
//!
//! Invariant: `off` is written down here only beside its evidence; a refusal never says which rule it was or whether the
//! target exists.

use fence_vmchannel_protocol::{PowerState, Reason, Ruling, Verdict};

use crate::order::Outcome;
use crate::policy::Refusal;

/// The verdict of an order.
#[must_use]
pub fn verdict_of(outcome: &Outcome) -> Verdict {
    let done = Verdict::new(Ruling::Done);
    match outcome {
        Outcome::Off(proof) => {
            Verdict { state: Some(PowerState::Off), evidence: Some(proof.evidence()), ..done }
        }
        Outcome::Restarted(proof, Ok(())) => {
            Verdict { state: Some(PowerState::On), evidence: Some(proof.evidence()), ..done }
        }
        // It was off; a start that failed or is late may still have taken effect.
        Outcome::Restarted(proof, Err(why)) => Verdict {
            evidence: Some(proof.evidence()),
            detail: Some(format!("it was off; its start failed or is not seen yet: {why}")),
            ..done
        },
        Outcome::On => Verdict { state: Some(PowerState::On), ..done },
        Outcome::Failed(reason, why) => Verdict::failed(*reason, why.clone()),
    }
}

/// The verdict of a refusal.
#[must_use]
pub fn verdict_of_refusal(refusal: &Refusal) -> Verdict {
    if refusal.reason == Reason::Busy {
        let detail = "the agent does not know all domains of its host yet: ask again";
        return Verdict::failed(Reason::Busy, detail);
    }
    let unsigned = "requests of this guest must be signed with one of its keys";
    let detail = (refusal.reason == Reason::BadSignature).then(|| unsigned.into());
    Verdict { detail, ..Verdict::refused(refusal.reason) }
}

/// The verdict of a `status`.
#[must_use]
pub fn verdict_of_state(state: Result<PowerState, Reason>) -> Verdict {
    match state {
        Ok(state) => Verdict { state: Some(state), ..Verdict::new(Ruling::Done) },
        Err(reason) => Verdict::failed(reason, "its state could not be learned"),
    }
}
