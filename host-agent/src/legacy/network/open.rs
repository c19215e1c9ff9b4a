//! An open socket of a listener.
//!
//! In:  where to listen. Out: what arrives there, and from where.
//!
//! Invariant: an error of one arrival is not the end of the listener.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::Duration;

use fence_vmchannel_protocol::legacy::NETWORK_BYTES;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpListener, UdpSocket, UnixStream};
use tokio::time::sleep;

use crate::config::{Listener, Whence};
use crate::identity::Dialect;

/// Connections that may wait in the kernel.
const BACKLOG: i32 = 32;
/// How long to leave alone what just failed, a lack of descriptors for example.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether an interface is another one by now, which no socket tells of.
const LOOK: Duration = Duration::from_secs(10);
/// Any vsock context id of this host.
const ANY_CID: u32 = u32::MAX;

/// A connection over whatever it came.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What arrived.
pub(super) enum Arrival {
    /// A whole packet.
    Packet(Box<[u8; NETWORK_BYTES]>, SocketAddr),
    /// A connection.
    Stream(Box<dyn Stream>, Whence),
    /// Nothing of use.
    Nothing,
    /// The listener has to be opened anew.
    Stale,
}

/// A socket that listens.
pub(super) enum Open {
    Multicast(UdpSocket, Option<(String, u32)>),
    Tcp(TcpListener),
    Vsock(UnixStream),
}

impl Open {
    pub(super) fn at(listener: &Listener) -> io::Result<Self> {
        match listener {
            Listener::Multicast(group, interface) => {
                let interface =
                    interface.as_ref().map(|name| Ok::<_, io::Error>((name.clone(), index(name)?)));
                let interface = interface.transpose()?;
                let number = interface.as_ref().map(|(_, number)| *number);
                Ok(Self::Multicast(UdpSocket::from_std(multicast(*group, number)?.into())?, interface))
            }
            Listener::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                listen(&socket, &(*address).into())?;
                Ok(Self::Tcp(TcpListener::from_std(socket.into())?))
            }
            Listener::Vsock(port) => {
                let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
                listen(&socket, &SockAddr::vsock(ANY_CID, *port))?;
                Ok(Self::Vsock(asynchronous(socket)?))
            }
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Multicast(..) => Dialect::Multicast,
            Self::Tcp(_) => Dialect::Tcp,
            Self::Vsock(_) => Dialect::Vsock,
        }
    }

    /// The next arrival. Cancel safe.
    pub(super) async fn next(&self) -> Arrival {
        let arrival = match self {
            Self::Multicast(socket, interface) => packet(socket, interface.as_ref()).await,
            Self::Tcp(listener) => listener.accept().await.map(|(stream, from)| {
                Arrival::Stream(Box::new(stream), Whence::Address(from.ip().to_canonical()))
            }),
            Self::Vsock(listener) => vsock(listener).await,
        };
        match arrival {
            Ok(arrival) => arrival,
            Err(error) => {
                tracing::debug!(target: "legacy", %error, "an arrival could not be taken");
                sleep(PAUSE).await;
                Arrival::Nothing
            }
        }
    }
}

fn index(interface: &str) -> io::Result<u32> {
    if_nametoindex(interface).map_err(|error| io::Error::other(format!("interface {interface}: {error}")))
}

fn listen(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)
}

/// A socket that hears only what is sent to the group.
fn multicast(group: SocketAddr, interface: Option<u32>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    match group {
        SocketAddr::V4(v4) => {
            socket.bind(&group.into())?;
            let on = interface.map_or(
                InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
                InterfaceIndexOrAddress::Index,
            );
            socket.join_multicast_v4_n(v4.ip(), &on)?;
        }
        SocketAddr::V6(v6) => {
            let number = interface.unwrap_or(0);
            socket.set_only_v6(true)?;
            socket.bind(&SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, number)).into())?;
            socket.join_multicast_v6(v6.ip(), number)?;
        }
    }
    Ok(socket)
}

async fn packet(socket: &UdpSocket, interface: Option<&(String, u32)>) -> io::Result<Arrival> {
    let mut packet = Box::new([0; NETWORK_BYTES]);
    // One more byte, to tell a longer packet from a whole one.
    let mut bytes = [0; NETWORK_BYTES + 1];
    let (count, from) = tokio::select! {
        received = socket.recv_from(&mut bytes) => received?,
        () = sleep(LOOK) => {
            let is_another = interface.is_some_and(|(name, number)| index(name).ok() != Some(*number));
            return Ok(if is_another { Arrival::Stale } else { Arrival::Nothing });
        }
    };
    let Some((whole, _)) = bytes.split_first_chunk().filter(|_| count == NETWORK_BYTES) else {
        return Ok(Arrival::Nothing);
    };
    *packet = *whole;
    Ok(Arrival::Packet(packet, from))
}

async fn vsock(listener: &UnixStream) -> io::Result<Arrival> {
    let (stream, from) = accept(listener).await?;
    let Some((cid, _port)) = from.as_vsock_address() else { return Ok(Arrival::Nothing) };
    Ok(Arrival::Stream(Box::new(stream), Whence::Cid(cid)))
}

async fn accept(listener: &UnixStream) -> io::Result<(UnixStream, SockAddr)> {
    loop {
        listener.readable().await?;
        match listener.try_io(Interest::READABLE, || SockRef::from(listener).accept()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
            Ok((socket, from)) => {
                socket.set_nonblocking(true)?;
                return Ok((asynchronous(socket)?, from));
            }
        }
    }
}

/// A vsock socket is waited for, read and written by the same system calls as a Unix stream, and of those there is an asynchronous one.
fn asynchronous(socket: Socket) -> io::Result<UnixStream> {
    UnixStream::from_std(OwnedFd::from(socket).into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_socket_of_another_family_is_accepted_read_and_written_as_a_unix_stream() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listen(&socket, &SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let listener = asynchronous(socket).unwrap();

        for _ in 0..2 {
            let (client, accepted) = tokio::join!(TcpStream::connect(address), accept(&listener));
            let (mut client, (mut stream, from)) = (client.unwrap(), accepted.unwrap());
            client.write_all(b"ask").await.unwrap();
            let mut asked = [0; 3];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(b"!").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();

            assert_eq!((&asked, answer.as_slice()), (b"ask", b"!".as_slice()));
            assert_eq!(from.as_socket(), client.local_addr().ok());
        }
    }
}
