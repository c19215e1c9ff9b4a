//! What a verdict becomes in one byte.
//!
//! Invariant: total and fail-closed: whatever is not plainly a success is none.

use fence_vmchannel_protocol::legacy::Code;
use fence_vmchannel_protocol::{Power, PowerState, Reason, Ruling, Verdict};

/// The code of an order's verdict.
pub(super) fn of_order(power: Power, verdict: &Verdict) -> Code {
    let proven = verdict.evidence.is_some();
    let success = match (verdict.ruling, power) {
        (Ruling::Done, Power::Off) => proven && verdict.state == Some(PowerState::Off),
        // It was proven off: a start that is late or failed does not undo that, see the audit log.
        (Ruling::Done, Power::Reboot) => proven,
        (Ruling::Done, Power::On) => verdict.state == Some(PowerState::On),
        (Ruling::Refused(reason), _) => return of_refusal(reason),
        (Ruling::Failed(_), _) => false,
    };
    if success { Code::Success } else { Code::Failure }
}

/// The code of a refusal.
pub(super) fn of_refusal(reason: Reason) -> Code {
    match reason {
        Reason::NotPermitted | Reason::Condemned | Reason::BadSignature => Code::Denied,
        Reason::RateLimited
        | Reason::BadRequest
        | Reason::BadFrame
        | Reason::AmbiguousName
        | Reason::UnknownState
        | Reason::CannotKill
        | Reason::StartFailed
        | Reason::NoQuorum
        | Reason::HostLost
        | Reason::Moved
        | Reason::Timeout
        | Reason::Busy
        | Reason::Stopping
        | Reason::Unsupported => Code::Failure,
    }
}

/// The code of a state.
pub(super) fn of_state(state: Result<PowerState, Reason>) -> Code {
    match state {
        Ok(PowerState::On) => Code::Success,
        Ok(PowerState::Off) => Code::Off,
        Err(_) => Code::Failure,
    }
}

#[cfg(test)]
mod tests {
    use fence_vmchannel_protocol::Evidence;

    use super::*;

    #[test]
    fn success_needs_what_v2_would_call_proven_and_everything_else_is_a_failure() {
        for power in [Power::Off, Power::On, Power::Reboot] {
            for state in [None, Some(PowerState::On), Some(PowerState::Off)] {
                for evidence in [None, Some(Evidence::ProcessGone)] {
                    let verdict = Verdict { state, evidence, ..Verdict::new(Ruling::Done) };
                    let success = match power {
                        Power::Off => state == Some(PowerState::Off) && evidence.is_some(),
                        Power::On => state == Some(PowerState::On),
                        Power::Reboot => evidence.is_some(),
                    };
                    assert_eq!(of_order(power, &verdict) == Code::Success, success, "{power:?} {verdict:?}");
                    let failed = Verdict { ruling: Ruling::Failed(Reason::Timeout), ..verdict };
                    assert_eq!(of_order(power, &failed), Code::Failure);
                }
            }
        }
    }

    #[test]
    fn no_refusal_and_no_unknown_state_is_success_or_off() {
        for reason in Reason::ALL {
            assert!(matches!(of_refusal(*reason), Code::Denied | Code::Failure), "{reason}");
            assert_eq!(of_state(Err(*reason)), Code::Failure);
        }
        assert_eq!(of_refusal(Reason::NotPermitted), Code::Denied);
    }
}
