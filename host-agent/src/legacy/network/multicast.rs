//! Requests to a multicast group: the agent calls their client back.
//!
//! In:  a packet and where it came from. Out: a connection to that very address, and the answer over it.
//!
//! Invariant: nobody is called back but a configured peer, at the address that its packet came from, in a permitted network; nothing is
//! done before it has proven itself there. Of the copies of one request, one is answered. Whoever listens at that address is told the
//! answer: a packet that may be old is dropped, and who does not listen by now is not waited for.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::legacy::{Hash, NETWORK_BYTES, NetworkRequest};
use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exchange::{HANDSHAKE, Rejected, prove};
use super::gate::{Gate, Known, Weighed};
use super::seen::Asked;
use crate::config::Whence;
use crate::identity::{Caller, Dialect};

/// A client listens before it asks. The kernel tries again after a second, and another client may listen there by then.
const LISTENS_WITHIN: Duration = Duration::from_millis(900);

impl Gate {
    /// A packet, dropped unread unless it is from a peer. Anybody can send one that says so: only who has the key, and says something
    /// new, takes from the peer's budget.
    pub(super) fn weigh_packet(&self, packet: Box<[u8; NETWORK_BYTES]>, from: SocketAddr) -> Weighed<'_> {
        let known = self.known(Whence::Address(from.ip().to_canonical())).filter(|_| !self.was_held_up());
        let Some(known) = known else { return Weighed::Dropped };
        let request = match self.verify(&packet) {
            Ok(request) => request,
            Err(why) => {
                known.unproven(Dialect::Multicast, &why);
                return Weighed::Dropped;
            }
        };
        let at = match self.callback(&request, from) {
            Ok(at) => at,
            Err(why) => {
                known.unproven(Dialect::Multicast, &why); // it is still its owner's, if it is another's
                return Weighed::Dropped;
            }
        };
        let Some(place) = known.enter() else { return Weighed::Dropped };
        if self.take(&packet, &request).is_err() {
            return Weighed::Dropped;
        }
        Weighed::Served(self.on_packet(packet, request, at, known, place).boxed())
    }

    async fn on_packet(
        &self,
        packet: Box<[u8; NETWORK_BYTES]>,
        request: NetworkRequest,
        at: SocketAddr,
        known: &Known,
        _place: Arc<()>,
    ) {
        if let Err(why) = self.call_back(&packet, &request, at, known).await {
            known.rejected(Dialect::Multicast, &why);
        }
    }

    async fn call_back(
        &self,
        packet: &[u8; NETWORK_BYTES],
        request: &NetworkRequest,
        at: SocketAddr,
        known: &Known,
    ) -> Result<(), Rejected> {
        let caller = match self.caller(known.rule(), Dialect::Multicast).await {
            Ok(caller) => caller,
            Err(why) => {
                self.forget(packet);
                return Err(why.into());
            }
        };
        let (uuid, op) = (caller.asker().uuid(), request.op);
        let asked = Asked { caller: uuid, op, target: request.target.clone(), seqno: request.seqno };
        if !self.seen().begin(&asked) {
            return Ok(()); // a copy of what is being answered, or was a moment ago
        }
        match timeout(HANDSHAKE, self.reach(at)).await.map_err(Rejected::from).and_then(|reached| reached) {
            Ok(stream) => self.answer_over(stream, &caller, known, request).await,
            Err(why) => {
                self.seen().take_back(&asked);
                self.forget(packet);
                Err(why)
            }
        }
    }

    /// Nothing was done: clients repeat a packet as it was.
    fn forget(&self, packet: &[u8; NETWORK_BYTES]) {
        if self.auth() != Hash::None
            && let Some(hash) = packet.last_chunk()
        {
            self.seen().forget(hash);
        }
    }

    async fn reach(&self, at: SocketAddr) -> Result<TcpStream, Rejected> {
        let mut stream = timeout(LISTENS_WITHIN, TcpStream::connect(at)).await??;
        prove(self, &mut stream).await.map(|()| stream)
    }

    async fn answer_over(
        &self,
        mut stream: TcpStream,
        caller: &Caller,
        known: &Known,
        request: &NetworkRequest,
    ) -> Result<(), Rejected> {
        self.answer(&mut stream, caller, known, request).await
    }

    /// Where the client listens: where the packet came from, if that is what it says.
    fn callback(&self, request: &NetworkRequest, from: SocketAddr) -> Result<SocketAddr, Rejected> {
        let none = || Rejected::Callback(from.ip());
        let told = request.callback.ok_or_else(none)?;
        let is_there = told.ip().to_canonical() == from.ip().to_canonical();
        if !is_there || !self.may_call_back(told.ip()) {
            return Err(Rejected::Callback(told.ip()));
        }
        Ok(match (told.ip(), from) {
            // A link-local address means nothing without its link.
            (IpAddr::V6(ip), SocketAddr::V6(from)) => {
                SocketAddrV6::new(ip, told.port(), 0, from.scope_id()).into()
            }
            _ => told,
        })
    }
}
