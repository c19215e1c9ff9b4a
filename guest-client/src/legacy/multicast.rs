//! The network dialect of fence_xvm: the question by multicast, the answer by a connection that the server opens.
//!
//! In:  a question. Out: the reply of the first server that connects and has the key.
//!
//! Invariant: who connects without the key is sent away, and the question stays open for the one who has it.

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

/// A group of servers.
pub(super) struct Multicast {
    pub(super) group: SocketAddr,
    pub(super) retransmit: Duration,
    pub(super) secret: Secret,
}

/// One address of this guest: a socket to ask from, a socket to be called at, and the packet that says so.
struct Mouth {
    socket: UdpSocket,
    listener: TcpListener,
    packet: Vec<u8>,
}

impl Multicast {
    pub(super) async fn ask(
        &self,
        op: Op,
        target: Option<&Target>,
        deadline: Instant,
    ) -> Result<Reply, LegacyError> {
        let mut mouths = Vec::new();
        let unsigned = self.secret.request(op, target, None)?;
        for (interface, address) in self.addresses() {
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
        loop {
            for mouth in &mouths {
                // one of several interfaces may lead nowhere
                let _sent = mouth.socket.send_to(&mouth.packet, self.group).await;
            }
            let until = deadline.min(Instant::now() + self.retransmit);
            while let Ok(mut caller) = timeout_at(until, first_caller(&mouths)).await {
                let proof = timeout_at(Instant::now() + PROOF, self.secret.prove(&mut caller)).await;
                if matches!(proof, Ok(Ok(()))) {
                    return reply(caller).await;
                } // else a stranger
            }
            if Instant::now() >= deadline {
                return std::future::pending().await; // the line tells that the time is over
            }
        }
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

async fn first_caller(mouths: &[Mouth]) -> TcpStream {
    std::future::poll_fn(|context| {
        for mouth in mouths {
            if let std::task::Poll::Ready(Ok((stream, _))) = mouth.listener.poll_accept(context) {
                return std::task::Poll::Ready(stream);
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
