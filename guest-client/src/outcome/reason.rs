//! The host's reasons in plain words, with what to do next.
//!
//! In:  a [`Reason`]. Out: text.
//!
//! Invariant: no text says more than the reason does; in particular `not-permitted` never tells whether a target exists.

use fence_vmchannel_protocol::Reason;

use crate::action::Action;

pub(super) fn explain(reason: Reason, action: Action, target: &str) -> String {
    let action = action.word();
    match reason {
        Reason::NotPermitted => {
            return format!(
                "this host does not permit it or has no such domain: ask the host's administrator; \
                 `fence-vmchanneld explain THIS-VM {action} {target}` on the host tells why"
            );
        }
        Reason::Condemned => "this guest is itself being fenced; another node was first",
        Reason::RateLimited => "too many requests; wait a moment and try again",
        Reason::BadRequest => {
            "the host did not understand the request; client and host agent may differ in version"
        }
        Reason::BadFrame => {
            "the host could not read the request; try again, and see that nothing else uses the channel"
        }
        Reason::BadSignature => {
            "the host wants a signed request of a key that may do this; ask its administrator"
        }
        Reason::AmbiguousName => "more than one domain has this name; name the target by its UUID",
        Reason::UnknownState => "the host could not learn the target's state; see the host agent's log",
        Reason::CannotKill => {
            "the target's process did not die; it is still running, see the host agent's log"
        }
        Reason::StartFailed => "the target could not be started; see libvirt's log on the host",
        Reason::NoQuorum => "the hosts' cluster has no quorum here; see its status on the host",
        Reason::HostLost => {
            "the host that ran the target is lost and not known to be fenced; see the hosts' cluster"
        }
        Reason::Moved => "the target moved to another host, which did not answer; try again",
        Reason::Timeout => "the host could not do or prove it in time; see the host agent's log",
        Reason::Busy => "the host has too much under way; try again",
        Reason::Stopping => "the host's agent is shutting down; try again when it is back",
        Reason::Unsupported => "this host does not do that; its agent may be older than this client",
    }
    .to_owned()
}
