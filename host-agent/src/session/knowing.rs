//! Answers from memory: who is who, and how this host is.
//!
//! In:  a request about nobody else. Out: its reply, at once.
//!
//! Invariant: nothing is looked up, run or waited for, so these cost no more than reading the request.

use fence_vmchannel_protocol::{AgentHealth, Ask, Body, LibvirtHealth, Reason, Reply, Request, Target};

use super::answer::Session;
use super::heard::Heard;
use crate::agent::Agent;
use crate::identity::Guest;
use crate::policy::Action;

impl Session<'_> {
    /// The reply to what can be answered at once.
    pub(super) fn knows(&mut self, heard: &Heard<'_>) -> Reply {
        let request = &heard.request;
        match request.ask {
            Ask::Hello => self.hello(request.id),
            Ask::Whoami => self.whoami(request.id),
            Ask::Monitor => self.monitor(request.id),
            Ask::HostStatus => self.host_status(request, &heard.guest),
            Ask::Explain(_) | Ask::List | Ask::Status(_) | Ask::Power(..) => {
                self.refuse(request.id, Reason::Unsupported)
            }
        }
    }

    /// What the guest may know of this host, from memory.
    fn host_status(&self, request: &Request, guest: &Guest) -> Reply {
        let Agent { hypervisor, stopping, host_status, .. } = self.agent;
        if let Err(refusal) = self.target(guest, Action::HostStatus, &Target::Uuid(guest.uuid())) {
            return self.refused(request, &refusal);
        }
        let agent = match () {
            () if *stopping.borrow() => AgentHealth::Stopping,
            () if !self.agent.domains().is_complete() => AgentHealth::Starting,
            () => AgentHealth::Ok,
        };
        let libvirt = if hypervisor.is_connected() { LibvirtHealth::Connected } else { LibvirtHealth::Away };
        let status = host_status.tell(agent, libvirt, hypervisor.is_simulated());
        Reply { id: request.id, body: Body::HostStatus(Box::new(status)) }
    }
}
