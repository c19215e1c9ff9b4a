//! Requests to a multicast group: the agent calls their client back.
//!
//! In:  a packet and where it came from. Out: a connection to that very address, and the answer over it.
//!
//! Invariant: nobody is called back but a configured peer, at the address that its packet came from, in a permitted network; nothing is
//! done before it has proven itself there. Of the copies of one request, one is answered.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use fence_vmchannel_protocol::legacy::{Hash, NETWORK_BYTES, NetworkRequest};
use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exchange::{HANDSHAKE, Rejected, prove};
use super::gate::{Gate, Known, Weighed};
use super::seen::Asked;
use crate::config::Whence;
use crate::identity::{Caller, Dialect};

impl Gate {
    /// A packet, dropped unread unless it is from a peer. Anybody can send one that says so: only who has the key, and says something
    /// new, takes from the peer's budget.
    pub(super) fn weigh_packet(&self, packet: Box<[u8; NETWORK_BYTES]>, from: SocketAddr) -> Weighed<'_> {
        let Some(known) = self.known(Whence::Address(from.ip().to_canonical())) else {
            return Weighed::Dropped;
        };
        let request = match self.verify(&packet) {
            Ok(request) => request,
            Err(why) => {
                known.unproven(Dialect::Multicast, &why);
                return Weighed::Dropped;
            }
        };
        let Some(place) = known.enter() else { return Weighed::Dropped };
        if self.take(&packet, &request).is_err() {
            return Weighed::Dropped;
        }
        Weighed::Served(self.on_packet(packet, request, from, known, place).boxed())
    }

    async fn on_packet(
        &self,
        packet: Box<[u8; NETWORK_BYTES]>,
        request: NetworkRequest,
        from: SocketAddr,
        known: &Known,
        _place: Arc<()>,
    ) {
        if let Err(why) = self.call_back(&packet, &request, from, known).await {
            known.rejected(Dialect::Multicast, &why);
        }
    }

    async fn call_back(
        &self,
        packet: &[u8; NETWORK_BYTES],
        request: &NetworkRequest,
        from: SocketAddr,
        known: &Known,
    ) -> Result<(), Rejected> {
        let at = self.callback(request, from)?;
        let caller = self.caller(known.rule(), Dialect::Multicast).await?;
        let (uuid, op) = (caller.asker().uuid(), request.op);
        let asked = Asked { caller: uuid, op, target: request.target.clone(), seqno: request.seqno };
        if !self.seen().begin(&asked) {
            return Ok(()); // a copy of what is being answered, or was a moment ago
        }
        match timeout(HANDSHAKE, self.reach(at)).await.map_err(Rejected::from).and_then(|reached| reached) {
            Ok(stream) => self.answer_over(stream, &caller, known, request).await,
            Err(why) => {
                self.seen().take_back(&asked);
                if self.auth() != Hash::None
                    && let Some(hash) = packet.last_chunk()
                {
                    self.seen().forget(hash); // clients repeat a packet as it was
                }
                Err(why)
            }
        }
    }

    async fn reach(&self, at: SocketAddr) -> Result<TcpStream, Rejected> {
        let mut stream = TcpStream::connect(at).await?;
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
