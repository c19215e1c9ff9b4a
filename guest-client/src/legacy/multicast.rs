//! The network dialect of fence_xvm: the question by multicast, the answer by a connection that the server opens.
//!
//! In:  a question. Out: the reply of the first server that connects and has the key; once one of them has listed the target,
//! its replies and no other's.
//!
//! Invariant: who connects without the key is sent away, and the question stays open for the one who has it. Answers of
//! several servers are never put together: what one says of a target that another one runs proves nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fence_vmchannel_protocol::Target;
use fence_vmchannel_protocol::legacy::{NetworkRequest, Op};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::BindToDevice;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::ear::Reply;
use super::error::LegacyError;
use super::network::{Secret, reply};

/// As the incumbent: one router may lie between.
const HOPS: u32 = 2;
/// Who connects has so long to prove itself, while others wait.
const PROOF: Duration = Duration::from_secs(2);

/// So long other servers may still say that they have the target as well.
const OTHERS: Duration = Duration::from_millis(300);
/// So long another server may still list the target, after one that does not.
const ANOTHER: Duration = Duration::from_secs(1);

/// A group of servers.
pub(super) struct Multicast {
    group: SocketAddr,
    retransmit: Duration,
    secret: Secret,
    /// The server that listed the target.
    owner: Option<Owner>,
}

/// A server, and the address of this guest that it connects to: so it comes by the same way, and from the same address, again.
struct Owner {
    server: IpAddr,
    here: IpAddr,
}

/// A server that has connected and has the key.
struct Caller {
    stream: TcpStream,
    owner: Owner,
}

/// One address of this guest: a socket to ask from, a socket to be called at, and the packet that says so.
struct Mouth {
    socket: UdpSocket,
    listener: TcpListener,
    packet: Vec<u8>,
}

impl Multicast {
    pub(super) fn new(group: SocketAddr, retransmit: Duration, secret: Secret) -> Self {
        Self { group, retransmit, secret, owner: None }
    }

    pub(super) async fn ask(
        &self,
        op: Op,
        target: Option<&Target>,
        deadline: Instant,
    ) -> Result<Reply, LegacyError> {
        let mut call = Call::new(self.mouths(op, target).await?, self);
        match call.next_caller(deadline).await {
            Some(caller) => reply(caller.stream).await,
            None => std::future::pending().await, // the line tells that the time is over
        }
    }

    /// The list of the server that has the target, which alone is heard from then on; the list of another one where none has it.
    pub(super) async fn list_naming(
        &mut self,
        target: &Target,
        deadline: Instant,
    ) -> Result<Reply, LegacyError> {
        if self.owner.is_some() {
            return self.ask(Op::List, None, deadline).await;
        }
        let mouths = self.mouths(Op::List, None).await?;
        match find(Call::new(mouths, self), target, deadline).await? {
            Some((owner, list)) => {
                self.owner = owner;
                Ok(list)
            }
            None => std::future::pending().await,
        }
    }

    /// A mouth at each address, or at the one where the target's server connects to.
    async fn mouths(&self, op: Op, target: Option<&Target>) -> Result<Vec<Mouth>, LegacyError> {
        let mut mouths = Vec::new();
        let unsigned = self.secret.request(op, target, None)?;
        let mut addresses = self.addresses();
        addresses.retain(|(_, address)| self.owner.as_ref().is_none_or(|owner| owner.here == *address));
        for (interface, address) in addresses {
            let Ok((socket, listener)) = self.open(&interface, address).await else { continue };
            let callback = listener.local_addr().ok();
            // the same numbers from every address: it is one request
            let request = NetworkRequest { callback, ..unsigned.clone() };
            let packet = request.seal(self.secret.key.as_ref())?.to_vec();
            mouths.push(Mouth { socket, listener, packet });
        }
        if mouths.is_empty() {
            return Err(LegacyError::NoInterface { group: self.group.ip().to_string() });
        }
        Ok(mouths)
    }

    /// The addresses of the group's family, each with its interface.
    fn addresses(&self) -> Vec<(String, IpAddr)> {
        let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST;
        let all = getifaddrs().into_iter().flatten().filter(|one| one.flags.contains(wanted));
        all.filter_map(|one| {
            let address = one.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
            Some((one.interface_name, v4.or(v6)?))
        })
        .filter(|(_, address)| address.is_ipv4() == self.group.is_ipv4() && !is_link_local(*address))
        .collect()
    }

    async fn open(&self, interface: &str, address: IpAddr) -> io::Result<(UdpSocket, TcpListener)> {
        let here = SocketAddr::new(address, 0);
        let socket = UdpSocket::bind(here).await?;
        setsockopt(&socket, BindToDevice, &interface.into())?;
        if address.is_ipv4() {
            socket.set_multicast_ttl_v4(HOPS)?;
        }
        Ok((socket, TcpListener::bind(here).await?))
    }
}

/// A question that is open: it is repeated, and callers come.
struct Call<'a> {
    mouths: Vec<Mouth>,
    repeat_at: Instant,
    multicast: &'a Multicast,
}

impl<'a> Call<'a> {
    fn new(mouths: Vec<Mouth>, multicast: &'a Multicast) -> Self {
        Self { mouths, repeat_at: Instant::now(), multicast }
    }

    /// The next caller that is the target's server, where that is known, and that proves itself.
    async fn next_caller(&mut self, until: Instant) -> Option<Caller> {
        let Multicast { group, retransmit, secret, owner } = self.multicast;
        loop {
            let now = Instant::now();
            if now >= until {
                return None;
            }
            if now >= self.repeat_at {
                for mouth in &self.mouths {
                    // one of several interfaces may lead nowhere
                    let _sent = mouth.socket.send_to(&mouth.packet, group).await;
                }
                self.repeat_at = now + *retransmit;
            }
            let wait = until.min(self.repeat_at);
            let Ok(mut caller) = timeout_at(wait, first_caller(&self.mouths)).await else { continue };
            if owner.as_ref().is_some_and(|owner| owner.server != caller.owner.server) {
                continue; // it hears no proof of ours, and so it does nothing
            }
            let proof = timeout_at(Instant::now() + PROOF, secret.prove(&mut caller.stream)).await;
            if matches!(proof, Ok(Ok(()))) {
                return Some(caller);
            } // else a stranger
        }
    }
}

/// The list with the target, and whose it is; else the first list, or whatever was said instead of one.
async fn find(
    mut call: Call<'_>,
    target: &Target,
    deadline: Instant,
) -> Result<Option<(Option<Owner>, Reply)>, LegacyError> {
    let (mut found, mut without, mut until): (Option<(Owner, Reply)>, _, _) = (None, None, deadline);
    while let Some(Caller { stream, owner }) = call.next_caller(until).await {
        let now = Instant::now();
        // One that falls silent leaves time for the others.
        let patience = now + deadline.saturating_duration_since(now) / 2;
        let Ok(Ok(list)) = timeout_at(patience, reply(stream)).await else { continue };
        let now = Instant::now();
        if list.names(target) {
            if let Some((one, _)) = found.as_ref().filter(|(one, _)| one.server != owner.server) {
                let (target, servers) = (target.to_string(), [one.server, owner.server]);
                return Err(LegacyError::TwoServers { target, servers });
            }
            found = Some((owner, list));
            until = deadline.min(now + OTHERS);
        } else if found.is_none() && without.is_none() {
            without = Some(list);
            until = deadline.min(now + ANOTHER);
        }
    }
    let found = found.map(|(owner, list)| (Some(owner), list));
    Ok(found.or_else(|| without.map(|list| (None, list))))
}

async fn first_caller(mouths: &[Mouth]) -> Caller {
    std::future::poll_fn(|context| {
        for mouth in mouths {
            if let std::task::Poll::Ready(Ok((stream, server))) = mouth.listener.poll_accept(context)
                && let Ok(here) = mouth.listener.local_addr()
            {
                let owner = Owner { server: server.ip(), here: here.ip() };
                return std::task::Poll::Ready(Caller { stream, owner });
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Of use only with an interface's number, which the packet has no place for.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
