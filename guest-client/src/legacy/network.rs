//! The network dialect over one connection for each question: TCP, vsock, and what a multicast server opens.
//!
//! In:  a question and the shared secret. Out: the reply of a server that has the key.
//!
//! Invariant: the server answers our challenge before we answer its own, so nobody learns an answer from us by passing a
//! challenge on; with `none` nobody proves anything, as with the incumbent.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use fence_vmchannel_protocol::Target;
use fence_vmchannel_protocol::legacy::{CHALLENGE_BYTES, Challenge, Hash, NetworkRequest, Op, SharedKey};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::ear::{Dialect, Ear, Reply};
use super::error::LegacyError;
use crate::options::{Credentials, Strength};

/// Where a server is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Vsock { cid: u32, port: u32 },
}

/// A server to connect to.
pub(super) struct Network {
    pub(super) place: Place,
    pub(super) secret: Secret,
}

/// The shared key and how it is used.
pub(super) struct Secret {
    pub(super) auth: Hash,
    pub(super) hash: Hash,
    pub(super) key: Option<SharedKey>,
}

impl Secret {
    pub(super) fn of(credentials: &Credentials) -> Result<Self, LegacyError> {
        let (auth, hash) = (named(credentials.auth), named(credentials.hash));
        let failed = |source| LegacyError::Key { path: credentials.key_file.clone(), source };
        let key = if (auth, hash) == (Hash::None, Hash::None) {
            None
        } else {
            let bytes = fs::read(&credentials.key_file).map_err(failed)?;
            Some(SharedKey::try_from(bytes).map_err(|empty| failed(io::Error::other(empty)))?)
        };
        Ok(Self { auth, hash, key })
    }

    /// Both prove that they have the key; nothing happens without a hash.
    pub(super) async fn prove(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(), LegacyError> {
        let Some(key) = self.key.as_ref().filter(|_| self.auth != Hash::None) else { return Ok(()) };
        let ours: Challenge = random_bytes()?;
        stream.write_all(&ours).await.map_err(|_| LegacyError::Away)?;
        let mut answer = [0; CHALLENGE_BYTES];
        stream.read_exact(&mut answer).await.map_err(|_| LegacyError::Away)?;
        if !self.auth.is_answer(key, &ours, &answer) {
            return Err(LegacyError::Impostor);
        }
        let mut theirs = [0; CHALLENGE_BYTES];
        stream.read_exact(&mut theirs).await.map_err(|_| LegacyError::Away)?;
        let answer = self.auth.answer(key, &theirs).ok_or(LegacyError::Impostor)?;
        stream.write_all(&answer).await.map_err(|_| LegacyError::Away)
    }
}

impl Network {
    pub(super) async fn ask(&self, op: Op, target: Option<&Target>) -> Result<Reply, LegacyError> {
        match self.place {
            Place::Tcp(address) => {
                let connected = TcpStream::connect(address).await;
                let unreachable = |source| LegacyError::Unreachable { place: address.to_string(), source };
                self.ask_over(connected.map_err(unreachable)?, op, target).await
            }
            Place::Vsock { cid, port } => {
                let place = format!("CID {cid}, port {port}");
                let connected = connect_vsock(cid, port);
                let unreachable = |source| LegacyError::Unreachable { place, source };
                self.ask_over(connected.map_err(unreachable)?, op, target).await
            }
        }
    }

    async fn ask_over(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        op: Op,
        target: Option<&Target>,
    ) -> Result<Reply, LegacyError> {
        let request = self.secret.request(op, target, None)?;
        let packet = request.seal(self.secret.key.as_ref())?;
        // the request comes first, as from the incumbent's clients; the server looks at it when both have proved themselves
        stream.write_all(&packet).await.map_err(|_| LegacyError::Away)?;
        self.secret.prove(&mut stream).await?;
        reply(stream).await
    }
}

impl Secret {
    pub(super) fn request(
        &self,
        op: Op,
        target: Option<&Target>,
        callback: Option<SocketAddr>,
    ) -> Result<NetworkRequest, LegacyError> {
        let (random, seqno) = (random_bytes()?, random()?);
        Ok(NetworkRequest { op, hash: self.hash, target: target.cloned(), callback, random, seqno })
    }
}

/// The reply that comes over a connection whose server was believed.
pub(super) async fn reply(mut stream: impl AsyncRead + Unpin) -> Result<Reply, LegacyError> {
    let (mut ear, mut buffer) = (Ear::new(Dialect::Network), [0; 4096]);
    loop {
        if let Some(reply) = ear.reply() {
            return Ok(reply);
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return Err(LegacyError::Away),
            Ok(count) => ear.hear(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// A vsock connection. The standard library knows no such sockets; what it does with a Unix stream (read, write, close) is the
/// same for every stream socket.
fn connect_vsock(cid: u32, port: u32) -> io::Result<UnixStream> {
    let socket = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &VsockAddr::new(cid, port))?; // the kernel waits for 2 s at most
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

pub(super) fn random() -> Result<u32, LegacyError> {
    random_bytes().map(u32::from_le_bytes)
}

/// From the kernel; a challenge that could be foreseen would prove nothing.
fn random_bytes<const N: usize>() -> Result<[u8; N], LegacyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| LegacyError::Runtime(io::Error::other(error)))?;
    Ok(bytes)
}

fn named(strength: Strength) -> Hash {
    match strength {
        Strength::None => Hash::None,
        Strength::Sha1 => Hash::Sha1,
        Strength::Sha256 => Hash::Sha256,
        Strength::Sha512 => Hash::Sha512,
    }
}
