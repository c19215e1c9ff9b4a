use std::path::Path;

use tempfile::TempDir;
use tokio::net::UnixStream;
use uuid::Uuid;

use super::*;
use crate::channel::socket;
use crate::domain::{ChannelSpec, Mode, Port};

fn door(path: &Path) -> Arc<Door> {
    let spec = ChannelSpec { port: Port::Virtio, mode: Mode::Connect, path: path.into() };
    Arc::new(Door::of(Uuid::nil(), spec))
}

/// A lobby with so many sockets.
fn lobby(dir: &TempDir, count: usize) -> (Lobby, Vec<(Seat, Arc<Door>)>) {
    let mut lobby = Lobby::open().unwrap();
    let enter = |number| {
        let door = door(&dir.path().join(format!("{number}.sock")));
        let socket = door.make_socket(None).unwrap();
        (lobby.enter(door.clone(), socket).unwrap(), door)
    };
    let seats = (0..count).map(enter).collect();
    (lobby, seats)
}

/// Nobody knocks now.
async fn is_quiet(lobby: &Lobby) -> bool {
    tokio::select! {
        biased;
        _ = lobby.knocked() => false,
        () = async { for _ in 0..8 { tokio::task::yield_now().await } } => true,
    }
}

#[tokio::test]
async fn of_many_idle_sockets_only_that_is_told_of_at_which_somebody_knocks() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lobby, seats) = lobby(&dir, 200);
    assert!(is_quiet(&lobby).await);
    let (seat, door) = &seats[117];

    let _knocking = UnixStream::connect(&door.spec.path).await.unwrap();

    assert_eq!(lobby.knocked().await, [*seat]);
    let (told, _socket) = lobby.leave(*seat).unwrap();
    assert!(Arc::ptr_eq(&told, door));
    assert!(is_quiet(&lobby).await, "told of once");
}

#[tokio::test]
async fn everybody_is_heard_of_who_knocks_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lobby, seats) = lobby(&dir, 3 * AT_ONCE);
    let mut knocking = Vec::new();
    for (_, door) in &seats {
        knocking.push(UnixStream::connect(&door.spec.path).await.unwrap());
    }

    let mut heard = 0;
    while heard < seats.len() {
        for seat in lobby.knocked().await {
            assert!(lobby.leave(seat).is_some());
            heard += 1;
        }
    }

    assert!(is_quiet(&lobby).await);
}

#[tokio::test]
async fn who_waits_already_when_a_socket_comes_back_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut lobby = Lobby::open().unwrap();
    let door = door(&dir.path().join("a.sock"));
    let listener = socket::Listener::open(&door.spec.path, None).unwrap();
    let _waiting = UnixStream::connect(&door.spec.path).await.unwrap();

    let seat = lobby.enter(door, listener.into_socket()).unwrap();

    assert_eq!(lobby.knocked().await, [seat]);
    let (_, socket) = lobby.leave(seat).unwrap();
    let (_stream, peer) = socket::Listener::at(socket).unwrap().accept().await.unwrap();
    assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
}

#[tokio::test]
async fn who_was_heard_of_but_not_let_in_is_heard_of_again() {
    let dir = tempfile::tempdir().unwrap();
    let (lobby, seats) = lobby(&dir, 1);
    let _knocking = UnixStream::connect(&seats[0].1.spec.path).await.unwrap();

    assert_eq!((lobby.knocked().await, lobby.knocked().await), (vec![seats[0].0], vec![seats[0].0]));
}

#[tokio::test]
async fn who_left_is_gone_and_its_seat_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lobby, seats) = lobby(&dir, 1);
    let (seat, door) = &seats[0];
    let (_, socket) = lobby.leave(*seat).unwrap();
    let _knocking = UnixStream::connect(&door.spec.path).await.unwrap();
    assert!(is_quiet(&lobby).await);

    let again = lobby.enter(door.clone(), socket).unwrap();

    assert_ne!(again, *seat);
    assert!(lobby.leave(*seat).is_none());
    assert_eq!(lobby.knocked().await, [again]);
}
