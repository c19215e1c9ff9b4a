//! The way to a legacy server, whichever it is.
//!
//! In:  a [`Transport`], questions one after the other. Out: a [`Reply`] to each.
//!
//! Invariant: no wait is longer than the deadline; nothing is asked twice.

use std::net::SocketAddr;
use std::time::Duration;

use fence_vmchannel_protocol::Target;
use fence_vmchannel_protocol::legacy::Op;
use tokio::time::{Instant, timeout_at};

use super::ear::Reply;
use super::error::LegacyError;
use super::multicast::Multicast;
use super::network::{Network, Place, Secret};
use super::serial::Serial;
use crate::options::Transport;
use crate::trace::Trace;

/// A line to a server.
pub(super) struct Line {
    kind: Kind,
    within: Duration,
    deadline: Instant,
}

enum Kind {
    Serial(Serial),
    Network(Network),
    Multicast(Multicast),
}

impl Line {
    pub(super) fn to(
        transport: &Transport,
        within: Duration,
        deadline: Instant,
        trace: Trace,
    ) -> Result<Self, LegacyError> {
        let kind = match transport {
            Transport::Channel { device, .. } => {
                let device = crate::port::find(device.as_deref(), &crate::port::Places::default())?;
                Kind::Serial(Serial::port(device, None, trace))
            }
            Transport::Serial { device, params } => {
                Kind::Serial(Serial::port(device.clone(), Some(*params), trace))
            }
            Transport::Guestfwd { address, port } => {
                Kind::Serial(Serial::guestfwd(SocketAddr::new(*address, *port)))
            }
            Transport::Tcp { address, port, credentials } => {
                let place = Place::Tcp(SocketAddr::new(*address, *port));
                Kind::Network(Network { place, secret: Secret::of(credentials)? })
            }
            Transport::Vsock { cid, port, credentials } => {
                let place = Place::Vsock { cid: *cid, port: *port };
                Kind::Network(Network { place, secret: Secret::of(credentials)? })
            }
            Transport::Multicast { address, port, retransmit, credentials } => {
                let group = SocketAddr::new(*address, *port);
                Kind::Multicast(Multicast::new(group, *retransmit, Secret::of(credentials)?))
            }
        };
        Ok(Self { kind, within, deadline })
    }

    /// A list, and with it the end of whatever the server still had to say.
    pub(super) async fn list(&mut self) -> Result<Reply, LegacyError> {
        let deadline = self.deadline;
        let asked = async {
            match &mut self.kind {
                Kind::Serial(serial) => serial.list(deadline).await,
                Kind::Network(network) => network.ask(Op::List, None).await,
                Kind::Multicast(multicast) => multicast.ask(Op::List, None, deadline).await,
            }
        };
        timeout_at(deadline, asked).await.unwrap_or(Err(LegacyError::NoAnswer { within: self.within }))
    }

    /// As [`Self::list`]; of several servers the list of the one that has the target, to which every later question goes.
    pub(super) async fn list_naming(&mut self, target: &Target) -> Result<Reply, LegacyError> {
        let deadline = self.deadline;
        let Kind::Multicast(multicast) = &mut self.kind else { return self.list().await };
        let asked = multicast.list_naming(target, deadline);
        timeout_at(deadline, asked).await.unwrap_or(Err(LegacyError::NoAnswer { within: self.within }))
    }

    /// One question and its answer.
    pub(super) async fn ask(&mut self, op: Op, target: Option<&Target>) -> Result<Reply, LegacyError> {
        let deadline = self.deadline;
        let asked = async {
            match &mut self.kind {
                Kind::Serial(serial) => serial.ask(op, target, deadline).await,
                Kind::Network(network) => network.ask(op, target).await,
                Kind::Multicast(multicast) => multicast.ask(op, target, deadline).await,
            }
        };
        timeout_at(deadline, asked).await.unwrap_or(Err(LegacyError::NoAnswer { within: self.within }))
    }
}
