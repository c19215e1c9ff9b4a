//! Existing `fence_xvm` and `fence_virt` clients on a network: real sockets on loopback, each hash, and everything that is refused.

use std::time::Duration;

use fence_vmchannel_host_agent::config::Config;
use fence_vmchannel_protocol::legacy::{
    Challenge, Hash, HostRecord, NETWORK_BYTES, NetworkRequest, Op, SharedKey,
};
use fence_vmchannel_protocol::{Body, Ruling};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::agent::{Agent, uuid_of};
use crate::guest::{Guest, off, reply_in};

const KEY: [u8; 64] = [42; 64];
pub(crate) const SUCCESS: Option<u8> = Some(0);
const IS_OFF: Option<u8> = Some(2);
pub(crate) const DENIED: Option<u8> = Some(3);
/// Silence: the connection was closed without an answer, or never made.
pub(crate) const NOTHING: Option<u8> = None;
/// No answer takes longer; silence is not waited for longer than that.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const WEB1_AT_HOME: &str = "[[legacy.peer]]\naddress = '127.0.0.1'\nguest = 'web1'\n";

pub(crate) fn key() -> SharedKey {
    SharedKey::try_from(KEY.to_vec()).unwrap()
}

/// A port that nobody has.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running agent with one listener.
pub(crate) struct Host {
    pub(crate) agent: Agent,
    pub(crate) port: u16,
    _key: NamedTempFile,
}

impl Host {
    pub(crate) async fn with(listener: &str, settings: &str, peers: &str) -> Self {
        let agent = Agent::with_clusters([("web", ["web1", "web2"]), ("db", ["db1", "db2"])]).await;
        let (file, port) = (NamedTempFile::new().unwrap(), free_port());
        std::fs::write(file.path(), KEY).unwrap();
        let text = format!(
            "[legacy]\nkey-file = '{}'\n{settings}\n[[legacy.listener]]\n{listener}\nport = {port}\n{peers}",
            file.path().display()
        );
        let config = Config::parse(&text, "agent.toml".as_ref()).unwrap();
        agent.listens(&config.legacy.unwrap());
        Self { agent, port, _key: file }
    }

    async fn with_tcp(settings: &str, peers: &str) -> Self {
        Self::with("kind = 'tcp'", settings, peers).await
    }

    async fn connects(&self) -> TcpStream {
        let begun = std::time::Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)).await {
                Ok(stream) => return stream,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn asks_tcp(&self, request: &NetworkRequest) -> Option<u8> {
        let mut stream = self.connects().await;
        stream.write_all(&request.seal(Some(&key())).unwrap()).await.ok()?;
        answered(&mut stream, Hash::Sha256, &key()).await
    }
}

pub(crate) fn asks(op: Op, target: &str) -> NetworkRequest {
    let mut random = [0; 6];
    getrandom::fill(&mut random).unwrap();
    NetworkRequest { op, hash: Hash::Sha256, target: target.parse().ok(), callback: None, random, seqno: 5 }
}

/// A guest's `off` over its own channel, in real time.
async fn fences(guest: &mut Guest, target: &str) -> Ruling {
    guest.sends(&off(target));
    loop {
        if let Some(line) = guest.has_heard()
            && let Body::Verdict(verdict) = reply_in(&line).body
        {
            return verdict.ruling;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A client's part of the conversation, up to the answer's first byte.
pub(crate) async fn answered(stream: &mut TcpStream, auth: Hash, key: &SharedKey) -> Option<u8> {
    let talk = async {
        if auth != Hash::None {
            let ours: Challenge = [17; 64];
            stream.write_all(&ours).await.ok()?;
            let told = hears(stream).await?;
            assert!(auth.is_answer(&self::key(), &ours, &told), "the host has the key");
            let theirs = hears(stream).await?;
            stream.write_all(&auth.answer(key, &theirs)?).await.ok()?;
        }
        stream.read_u8().await.ok()
    };
    timeout(PATIENCE, talk).await.expect("an answer, or the end of the connection")
}

async fn hears(stream: &mut TcpStream) -> Option<Challenge> {
    let mut bytes = [0; 64];
    stream.read_exact(&mut bytes).await.ok().map(|_| bytes)
}

#[tokio::test]
async fn a_tcp_client_asks_and_acts_as_the_guest_that_its_address_is() {
    let host = Host::with_tcp("", WEB1_AT_HOME).await;

    assert_eq!(host.asks_tcp(&asks(Op::Monitor, "")).await, SUCCESS);
    assert_eq!(host.asks_tcp(&asks(Op::Status, "web2")).await, SUCCESS);
    assert_eq!(host.asks_tcp(&asks(Op::Off, "web2")).await, SUCCESS);
    assert_eq!(host.asks_tcp(&asks(Op::Status, &uuid_of("web2").to_string())).await, IS_OFF);
    assert_eq!(host.asks_tcp(&asks(Op::On, "web2")).await, SUCCESS);
    assert_eq!(host.asks_tcp(&asks(Op::Reboot, "web2")).await, SUCCESS);
    for foreign in ["db1", "nobody"] {
        assert_eq!(host.asks_tcp(&asks(Op::Status, foreign)).await, DENIED);
        assert_eq!(host.asks_tcp(&asks(Op::Off, foreign)).await, DENIED);
    }
    assert_eq!(host.agent.orders(), ["stop web2", "start web2", "stop web2", "start web2"]);
}

#[tokio::test]
async fn each_hash_is_spoken_where_it_is_strong_enough_and_refused_where_it_is_not() {
    for (least, number) in Hash::ALL.into_iter().zip(0..) {
        let settings = format!("hash = '{least}'\nauth = '{least}'");
        let host = Host::with_tcp(&settings, WEB1_AT_HOME).await;
        for hash in Hash::ALL {
            let request = NetworkRequest { hash, seqno: number, ..asks(Op::Status, "web2") };
            let mut stream = host.connects().await;
            stream.write_all(&request.seal(Some(&key())).unwrap()).await.unwrap();

            let answer = answered(&mut stream, least, &key()).await;

            assert_eq!(
                answer,
                if hash >= least { SUCCESS } else { NOTHING },
                "{hash} where {least} is asked for"
            );
        }
    }
}

#[tokio::test]
async fn a_tcp_list_has_the_same_records_as_over_a_channel() {
    let host = Host::with_tcp("", WEB1_AT_HOME).await;
    let mut stream = host.connects().await;
    stream.write_all(&asks(Op::List, "").seal(Some(&key())).unwrap()).await.unwrap();

    assert_eq!(answered(&mut stream, Hash::Sha256, &key()).await, Some(253));

    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    let names = rest.chunks_exact(130).map_while(|record| HostRecord::decode(record.try_into().unwrap()));
    assert_eq!(names.map(|record| record.name).collect::<Vec<_>>(), ["web1", "web2"]);
    assert_eq!(rest.len(), 3 * 130 + 1);
    assert_eq!(rest.last(), Some(&0));
}

#[tokio::test]
async fn an_address_that_is_not_configured_is_closed_unread() {
    let host = Host::with_tcp(
        "hash = 'none'\nauth = 'none'",
        "[[legacy.peer]]\naddress = '127.0.0.9'\nguest = 'web1'\n",
    )
    .await;

    assert_eq!(host.asks_tcp(&asks(Op::Off, "web2")).await, NOTHING);

    assert!(host.agent.orders().is_empty());
}

#[tokio::test]
async fn who_has_another_key_is_not_answered_and_nothing_is_done() {
    let host = Host::with_tcp("hash = 'none'", WEB1_AT_HOME).await;
    let wrong = SharedKey::try_from(vec![1; 64]).unwrap();

    let mut forged = host.connects().await;
    forged.write_all(&asks(Op::Off, "web2").seal(Some(&wrong)).unwrap()).await.unwrap();
    assert_eq!(answered(&mut forged, Hash::Sha256, &wrong).await, NOTHING, "its hash is wrong");
    let mut unproven = host.connects().await;
    let unhashed = NetworkRequest { hash: Hash::None, ..asks(Op::Off, "web2") };
    unproven.write_all(&unhashed.seal(None).unwrap()).await.unwrap();
    assert_eq!(answered(&mut unproven, Hash::Sha256, &wrong).await, NOTHING, "its answer is wrong");

    assert!(host.agent.orders().is_empty());
}

#[tokio::test]
async fn a_recorded_packet_is_not_taken_again() {
    let host = Host::with_tcp("auth = 'none'", WEB1_AT_HOME).await;
    let packet = asks(Op::Reboot, "web2").seal(Some(&key())).unwrap();
    let send = async || {
        let mut stream = host.connects().await;
        stream.write_all(&packet).await.unwrap();
        answered(&mut stream, Hash::None, &key()).await
    };

    assert_eq!(send().await, SUCCESS);
    assert_eq!(send().await, NOTHING);

    assert_eq!(host.agent.orders(), ["stop web2", "start web2"]);
}

#[tokio::test]
async fn the_agents_own_challenge_is_not_answered_when_it_is_sent_back() {
    let host = Host::with_tcp("", WEB1_AT_HOME).await;
    let mut victim = host.connects().await;
    victim.write_all(&asks(Op::Off, "web2").seal(Some(&key())).unwrap()).await.unwrap();
    victim.write_all(&[17; 64]).await.unwrap();
    hears(&mut victim).await.expect("an answer to the first challenge");
    let theirs = hears(&mut victim).await.expect("a challenge");

    let mut mirror = host.connects().await;
    mirror.write_all(&asks(Op::Off, "web2").seal(Some(&key())).unwrap()).await.unwrap();
    mirror.write_all(&theirs).await.unwrap();

    assert_eq!(timeout(PATIENCE, hears(&mut mirror)).await.unwrap(), None, "closed without an answer");
    assert!(host.agent.orders().is_empty());
}

#[tokio::test]
async fn no_challenge_is_answered_before_a_request_with_a_right_hash() {
    let host = Host::with_tcp("", WEB1_AT_HOME).await;
    let mut stream = host.connects().await;

    stream.write_all(&[7; NETWORK_BYTES]).await.unwrap();
    stream.write_all(&[17; 64]).await.unwrap();

    assert_eq!(timeout(PATIENCE, hears(&mut stream)).await.unwrap(), None);
}

#[tokio::test]
async fn a_peer_in_a_cluster_acts_on_its_members_and_star_does_not_mean_it() {
    let peer = "[[legacy.peer]]\naddress = '127.0.0.1'\ncluster = 'db'\n";
    let host = Host::with_tcp("", peer).await;
    host.agent.has_rules("[[allow]]\nfrom = ['*']\nto = ['web1']\n\n[[allow]]\nfrom = ['cluster:db']\nto = ['web2']\nactions = ['status']\n");

    assert_eq!(host.asks_tcp(&asks(Op::Off, "db1")).await, SUCCESS);
    assert_eq!(host.asks_tcp(&asks(Op::Off, "web1")).await, DENIED);
    assert_eq!(host.asks_tcp(&asks(Op::Status, "web2")).await, SUCCESS);
    assert_eq!(host.asks_tcp(&asks(Op::Off, "web2")).await, DENIED);
    host.agent.has_rules("[[deny]]\nfrom = ['*']\nto = ['db2']\n");
    assert_eq!(host.asks_tcp(&asks(Op::Off, "db2")).await, DENIED);
    assert_eq!(host.agent.orders(), ["stop db1"]);
}

#[tokio::test]
async fn a_peer_that_is_a_guest_may_not_act_once_it_is_fenced() {
    let host = Host::with_tcp("", WEB1_AT_HOME).await;
    assert_eq!(fences(&mut host.agent.guest("web2").await, "web1").await, Ruling::Done);

    assert_eq!(host.asks_tcp(&asks(Op::Off, "web2")).await, NOTHING, "it does not run");

    assert!(host.agent.runs("web2"));
}

#[tokio::test]
async fn a_peer_that_connects_and_says_nothing_has_few_places_and_holds_up_no_guest() {
    let host = Host::with_tcp("", WEB1_AT_HOME).await;
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(host.connects().await);
    }

    let mut guest = host.agent.guest("web1").await;
    let begun = std::time::Instant::now();
    let ruling = timeout(PATIENCE, fences(&mut guest, "web2")).await.unwrap();

    assert_eq!(ruling, Ruling::Done);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let mut closed = 0;
    for stream in &mut silent {
        closed += usize::from(timeout(Duration::from_millis(20), stream.read_u8()).await.is_ok());
    }
    assert!(closed >= 22, "only 8 of them may wait, {closed} were closed");
}

#[tokio::test]
async fn silent_peers_leave_a_place_for_every_other_peer() {
    let peers: String = (1..=12)
        .map(|number| format!("[[legacy.peer]]\naddress = '127.0.0.{number}'\nguest = 'web1'\n"))
        .collect();
    let host = Host::with_tcp("", &peers).await;
    drop(host.connects().await);
    let mut silent = Vec::new();
    for number in 2..=12 {
        for _ in 0..8 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(std::net::SocketAddr::from(([127, 0, 0, number], 0))).unwrap();
            silent
                .push(socket.connect(std::net::SocketAddr::from(([127, 0, 0, 1], host.port))).await.unwrap());
        }
    }

    let answer = timeout(Duration::from_secs(5), host.asks_tcp(&asks(Op::Status, "web2"))).await;

    assert_eq!(answer.expect("before the silent ones are given up"), SUCCESS);
}
