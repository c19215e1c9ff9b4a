//! Servers of the test's own, each at an address of its own, call back to one mouth at the loopback interface.

use std::net::Ipv4Addr;

use fence_vmchannel_protocol::legacy::{Code, Hash, HostRecord};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::*;

const DEADLINE: Duration = Duration::from_secs(5);

/// A group in which nobody hears the packet: the tests' servers know whom to call.
fn group() -> Multicast {
    let secret = Secret { auth: Hash::None, hash: Hash::None, key: None };
    Multicast::new((Ipv4Addr::LOCALHOST, 9).into(), Duration::from_secs(1), secret)
}

async fn mouth() -> (Mouth, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let here = listener.local_addr().unwrap();
    (Mouth { socket, listener, packet: Vec::new() }, here)
}

fn server(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, number).into()
}

/// The server of this number calls and says this.
async fn call(number: u8, there: SocketAddr, says: Vec<u8>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((server(number), 0).into()).unwrap();
    let mut stream = socket.connect(there).await.unwrap();
    stream.write_all(&says).await.ok();
}

/// A list of one domain.
fn list(name: &str) -> Vec<u8> {
    let mut record = HostRecord::END;
    record[..name.len()].copy_from_slice(name.as_bytes());
    record[64..100].copy_from_slice(b"8d7e6f5a-4b3c-4d2e-8f1a-0b9c8d7e6f5a");
    record[128] = 5;
    [&[0xfd], &record[..], &HostRecord::END].concat()
}

/// What is found when these servers call, one after the other.
async fn found(calls: Vec<(u8, Vec<u8>)>) -> Result<Option<(Option<Owner>, Reply)>, LegacyError> {
    let (mouth, here) = mouth().await;
    let (multicast, target) = (group(), "web2".parse().unwrap());
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        for (number, says) in calls {
            call(number, here, says).await;
        }
    });
    find(Call::new(vec![mouth], &multicast), &target, Instant::now() + DEADLINE).await
}

#[tokio::test]
async fn the_server_that_lists_the_target_is_found_behind_those_that_do_not() {
    let calls = vec![(2, list("web1")), (3, vec![Code::Denied as u8]), (4, list("web2"))];

    let (owner, reply) = found(calls).await.unwrap().unwrap();

    assert_eq!(owner.unwrap().server, server(4));
    assert!(reply.names(&"web2".parse().unwrap()));
}

#[tokio::test]
async fn two_servers_that_list_the_target_are_a_failure() {
    let error = found(vec![(2, list("web2")), (3, list("web2"))]).await.err().unwrap();

    assert!(matches!(error, LegacyError::TwoServers { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.2 and 127.0.0.3"), "{error}");
}

#[tokio::test]
async fn a_server_that_calls_twice_is_one_server() {
    let (owner, _) = found(vec![(2, list("web2")), (2, list("web2"))]).await.unwrap().unwrap();

    assert_eq!(owner.unwrap().server, server(2));
}

#[tokio::test]
async fn where_no_server_lists_the_target_the_first_list_is_told_and_nobody_is_the_owner() {
    let (owner, reply) = found(vec![(2, list("web1")), (3, list("web3"))]).await.unwrap().unwrap();

    assert!(owner.is_none() && reply.names(&"web1".parse().unwrap()));
}

#[tokio::test]
async fn the_deed_s_answer_is_taken_from_the_server_that_listed_the_target_and_from_no_other() {
    let (mouth, here) = mouth().await;
    let mut multicast = group();
    multicast.owner = Some(Owner { server: server(3), here: here.ip() });
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        call(2, here, vec![Code::Success as u8]).await;
        call(3, here, vec![Code::Failure as u8]).await;
    });

    let caller = Call::new(vec![mouth], &multicast).next_caller(Instant::now() + DEADLINE).await.unwrap();

    assert_eq!(caller.owner.server, server(3));
    assert_eq!(reply(caller.stream).await.unwrap(), Reply::Code(Code::Failure));
}
