//! The host's reasons in plain words, with what to do next.
//!
//! In:  a [`Reason`]. Out: text.
//!
//! Invariant: no text says more than the reason does; in particular `not-permitted` never tells whether a target exists.

use fence_vmchannel_protocol::Reason;

use crate::action::Action;

/// The agent's own words say more than may be told to a guest.
const AGENT_LOG: &str = "see the agent's log on the host: journalctl -u fence-vmchanneld";

/// A reason in plain words.
pub(super) struct Explanation {
    pub(super) why: &'static str,
    pub(super) next: String,
}

pub(super) fn explain(reason: Reason, action: Action, target: &str) -> Explanation {
    let (why, next) = match reason {
        Reason::NotPermitted => {
            let target = if target.is_empty() { "THIS-VM" } else { target };
            let asked = if action == Action::ListStatus { Action::List } else { action }.word();
            let next = format!(
                "ask the host's administrator: `fence-vmchanneld explain THIS-VM {asked} {target}` on the host tells why \
                 (but if this guest's own broker is named here, /etc/fence-vmchannel/broker.toml decides)"
            );
            return Explanation { why: "this host does not permit it, or has no such domain", next };
        }
        Reason::Condemned => (
            "this guest is itself being fenced, another node was first",
            "nothing is to be done here: this guest will be stopped",
        ),
        Reason::RateLimited => ("too many requests", "wait a moment and try again"),
        Reason::BadRequest => (
            "the host did not understand the request",
            "see whether client and host agent are of the same version (--version)",
        ),
        Reason::BadFrame => {
            ("the host could not read the request", "try again, and see that nothing else uses the channel")
        }
        Reason::BadSignature => {
            let next =
                "give --key-file; `fence-vmchanneld channel key add THIS-VM NAME` on the host makes a key";
            ("the host takes only requests that are signed with a key of this guest", next)
        }
        Reason::AmbiguousName => ("more than one domain has this name", "name the target by its UUID"),
        Reason::UnknownState => ("the host could not learn the target's state", AGENT_LOG),
        Reason::CannotKill => ("the target's process did not die and is still running", AGENT_LOG),
        Reason::StartFailed => ("the target could not be started", "see libvirt's log on the host"),
        Reason::NoQuorum => ("the hosts' cluster has no quorum here", "see its status on the host"),
        Reason::HostLost => (
            "the host that ran the target is lost and not known to be fenced",
            "see the status of the hosts' cluster",
        ),
        Reason::Moved => {
            ("the target moved or is moving to or from another host", "fence it by the host that runs it now")
        }
        Reason::Timeout => ("the host could not do or prove it in time", AGENT_LOG),
        Reason::Busy => ("the host has too much under way", "try again"),
        Reason::Stopping => ("the host's agent is shutting down", "try again when it is back"),
        Reason::Unsupported => {
            ("this host does not do that", "see whether its agent is older than this client (--version)")
        }
    };
    Explanation { why, next: next.to_owned() }
}
