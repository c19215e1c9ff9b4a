//! Existing `fence_xvm` clients that ask by multicast: the agent calls them back.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fence_vmchannel_protocol::legacy::{Hash, NETWORK_BYTES, NetworkRequest, Op, SharedKey};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::network::{DENIED, Host, NOTHING, SUCCESS, WEB1_AT_HOME, answered, asks, key};

/// Nobody who is called back at all waits longer.
const SILENCE: Duration = Duration::from_millis(700);

/// A multicast client on loopback, as fence_xvm is one.
struct Shotgun {
    group: SocketAddr,
    home: Ipv4Addr,
    listener: TcpListener,
}

impl Shotgun {
    async fn at(home: &str, group: &str, port: u16) -> Self {
        let home: Ipv4Addr = home.parse().unwrap();
        let group = SocketAddr::new(group.parse().unwrap(), port);
        Self { group, home, listener: TcpListener::bind((home, 0)).await.unwrap() }
    }

    fn request(&self, op: Op, target: &str) -> NetworkRequest {
        NetworkRequest { callback: self.listener.local_addr().ok(), ..asks(op, target) }
    }

    fn sends(&self, packet: &[u8]) {
        let socket = Socket::new(Domain::for_address(self.group), Type::DGRAM, None).unwrap();
        socket.bind(&SocketAddr::new(self.home.into(), 0).into()).unwrap();
        socket.set_multicast_if_v4(&self.home).unwrap();
        socket.send_to(packet, &self.group.into()).unwrap();
    }

    /// Sends copies until it is called back, as clients do.
    async fn asks(&self, request: &NetworkRequest) -> Option<u8> {
        for _ in 0..100 {
            let mut random = [0; 6];
            getrandom::fill(&mut random).unwrap();
            self.sends(&NetworkRequest { random, ..request.clone() }.seal(Some(&key())).unwrap());
            if let Ok(called) = timeout(Duration::from_millis(200), self.listener.accept()).await {
                return answered(&mut called.unwrap().0, Hash::Sha256, &key()).await;
            }
        }
        NOTHING
    }

    async fn is_called_back(&self) -> bool {
        timeout(SILENCE, self.listener.accept()).await.is_ok()
    }
}

const MULTICAST: &str = "kind = 'multicast'\naddress = '225.0.0.12'\ninterface = 'lo'";
const HOME: &str = "callback-networks = ['127.0.0.0/8']";

#[tokio::test]
async fn a_multicast_client_is_called_back_proves_itself_and_acts() {
    let host = Host::with(MULTICAST, HOME, WEB1_AT_HOME).await;
    let client = Shotgun::at("127.0.0.1", "225.0.0.12", host.port).await;

    assert_eq!(client.asks(&client.request(Op::Status, "web2")).await, SUCCESS);
    assert_eq!(client.asks(&client.request(Op::Off, "web2")).await, SUCCESS);
    assert_eq!(client.asks(&NetworkRequest { seqno: 6, ..client.request(Op::Off, "db1") }).await, DENIED);

    assert_eq!(host.agent.orders(), ["stop web2"]);
}

#[tokio::test]
async fn copies_of_one_multicast_request_are_one_request() {
    let host = Host::with(MULTICAST, HOME, WEB1_AT_HOME).await;
    let client = Shotgun::at("127.0.0.1", "225.0.0.12", host.port).await;
    let reboot = client.request(Op::Reboot, "web2");
    assert_eq!(client.asks(&reboot).await, SUCCESS);

    for number in 0..5 {
        client.sends(&NetworkRequest { random: [number; 6], ..reboot.clone() }.seal(Some(&key())).unwrap());
    }

    assert!(!client.is_called_back().await);
    assert_eq!(host.agent.orders(), ["stop web2", "start web2"]);
}

#[tokio::test]
async fn nobody_is_called_back_outside_the_permitted_networks_or_where_the_packet_is_not_from() {
    let peers = "[[legacy.peer]]\naddress = '127.0.0.1'\nguest = 'web1'\n[[legacy.peer]]\naddress = '127.0.0.2'\nguest = 'web2'\n";
    let host = Host::with(MULTICAST, "callback-networks = ['127.0.0.1/32']", peers).await;
    let outside = Shotgun::at("127.0.0.2", "225.0.0.12", host.port).await;
    let inside = Shotgun::at("127.0.0.1", "225.0.0.12", host.port).await;
    assert_eq!(inside.asks(&inside.request(Op::Status, "web2")).await, SUCCESS, "it listens");

    outside.sends(&outside.request(Op::Off, "web1").seal(Some(&key())).unwrap());
    outside.sends(&inside.request(Op::Off, "web1").seal(Some(&key())).unwrap());
    inside.sends(&outside.request(Op::Off, "web2").seal(Some(&key())).unwrap());
    inside.sends(&asks(Op::Off, "web2").seal(Some(&key())).unwrap());

    assert!(!outside.is_called_back().await && !inside.is_called_back().await);
    assert!(host.agent.orders().is_empty());
}

#[tokio::test]
async fn a_client_that_is_called_back_and_cannot_prove_itself_changes_nothing() {
    let host = Host::with(MULTICAST, &format!("hash = 'none'\n{HOME}"), WEB1_AT_HOME).await;
    let client = Shotgun::at("127.0.0.1", "225.0.0.12", host.port).await;
    let forged = NetworkRequest { hash: Hash::None, ..client.request(Op::Off, "web2") };
    let mut called = loop {
        client.sends(&forged.seal(None).unwrap());
        if let Ok(called) = timeout(Duration::from_millis(200), client.listener.accept()).await {
            break called.unwrap().0;
        }
    };

    let answer = answered(&mut called, Hash::Sha256, &SharedKey::try_from(vec![1; 64]).unwrap()).await;

    assert_eq!(answer, NOTHING);
    assert!(host.agent.orders().is_empty());
}

#[tokio::test]
async fn packets_that_prove_nothing_use_up_no_peers_budget_though_they_come_from_its_address() {
    let host = Host::with(MULTICAST, HOME, WEB1_AT_HOME).await;
    let client = Shotgun::at("127.0.0.1", "225.0.0.12", host.port).await;
    assert_eq!(client.asks(&client.request(Op::Status, "web2")).await, SUCCESS, "it listens");
    let wrong = SharedKey::try_from(vec![1; 64]).unwrap();

    for number in 0..80 {
        let forged = NetworkRequest { seqno: 100 + number, ..client.request(Op::Off, "web2") };
        client.sends(&forged.seal(Some(&wrong)).unwrap());
    }
    client.sends(&client.request(Op::List, "").seal(Some(&key())).unwrap());

    assert!(client.is_called_back().await);
    assert!(host.agent.orders().is_empty());
}

#[tokio::test]
async fn a_flood_from_addresses_that_are_no_peers_does_not_keep_a_peer_from_asking() {
    let host = Host::with(MULTICAST, HOME, WEB1_AT_HOME).await;
    let client = Shotgun::at("127.0.0.1", "225.0.0.12", host.port).await;
    let stranger = Shotgun::at("127.0.0.9", "225.0.0.12", host.port).await;
    assert_eq!(client.asks(&client.request(Op::Status, "web2")).await, SUCCESS, "it listens");

    for _ in 0..5 {
        (0..100).for_each(|_| stranger.sends(&[7; NETWORK_BYTES]));
        tokio::time::sleep(Duration::from_millis(10)).await; // more than that the kernel would not hold
    }
    client.sends(&client.request(Op::List, "").seal(Some(&key())).unwrap());

    assert!(client.is_called_back().await);
}

#[tokio::test]
async fn a_packet_that_waited_while_the_agent_was_held_up_calls_nobody() {
    let host = Host::with(MULTICAST, HOME, WEB1_AT_HOME).await;
    let client = Shotgun::at("127.0.0.1", "225.0.0.12", host.port).await;
    assert_eq!(client.asks(&client.request(Op::Status, "web2")).await, SUCCESS, "it listens");
    host.agent.keeps_its_pulse().await;

    client.sends(&client.request(Op::Monitor, "web2").seal(Some(&key())).unwrap());
    std::thread::sleep(Duration::from_millis(3500)); // with the whole agent

    assert!(!client.is_called_back().await, "who listens there now may have asked something else");
    assert_eq!(client.asks(&client.request(Op::Monitor, "web2")).await, SUCCESS, "later it is");
}

#[tokio::test]
async fn a_packet_that_another_peer_sends_once_more_is_still_its_owners() {
    let peers = "[[legacy.peer]]\naddress = '127.0.0.1'\nguest = 'web1'\n[[legacy.peer]]\naddress = '127.0.0.2'\nguest = 'web2'\n";
    let host = Host::with(MULTICAST, HOME, peers).await;
    let thief = Shotgun::at("127.0.0.2", "225.0.0.12", host.port).await;
    let owner = Shotgun::at("127.0.0.1", "225.0.0.12", host.port).await;
    assert_eq!(owner.asks(&owner.request(Op::Status, "web2")).await, SUCCESS, "it listens");
    let packet = owner.request(Op::Monitor, "web2").seal(Some(&key())).unwrap();

    thief.sends(&packet);
    assert!(!owner.is_called_back().await);
    owner.sends(&packet);

    assert!(owner.is_called_back().await);
}
