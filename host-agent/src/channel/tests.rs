use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use fence_vmchannel_protocol::legacy::{Op, SerialRequest};
use fence_vmchannel_protocol::{Reason, Reply, RequestId, Verdict, encode_line};

use super::limits::READ_COST;
use super::*;

mod crumbs;

fn pair() -> (Channel<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Channel::new(ours), theirs)
}

fn line() -> Vec<u8> {
    b"fv2 crc:00000000 {}\n".to_vec() // its CRC is wrong: one frame of noise
}

fn reply() -> Vec<u8> {
    let body = fence_vmchannel_protocol::Body::Verdict(Verdict::refused(Reason::Busy));
    encode_line(&Reply { id: RequestId::NONE, body }).unwrap()
}

#[tokio::test]
async fn several_frames_of_one_write_are_heard_one_after_the_other() {
    let (mut channel, mut guest) = pair();

    guest.write_all(&[line(), line(), line()].concat()).await.unwrap();

    for _ in 0..3 {
        assert!(matches!(channel.hear(&Turns::default()).await, Ok(Some(Frame::Noise(_)))));
    }
}

#[tokio::test]
async fn a_closed_connection_ends_the_channel() {
    let (mut channel, guest) = pair();

    drop(guest);

    assert!(matches!(channel.hear(&Turns::default()).await, Err(Ended::Closed)));
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_allowed_are_heard_later_and_none_is_lost() {
    let (mut channel, mut guest) = pair();
    let begun = Instant::now();

    guest.write_all(&line().repeat(60)).await.unwrap();
    for _ in 0..60 {
        assert!(matches!(channel.hear(&Turns::default()).await, Ok(Some(Frame::Noise(_)))));
    }

    // 40 at once, the other 20 at 20 a second.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(950) && took < Duration::from_millis(1100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_one_by_one_are_gathered_and_use_up_few_reads() {
    let (mut channel, mut guest) = pair();
    let (begun, lines) = (Instant::now(), 30);

    let typing = async {
        for byte in line().repeat(lines) {
            guest.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_micros(87)).await; // 115200 bits a second
        }
    };
    let hearing = async {
        for _ in 0..lines {
            assert!(matches!(channel.hear(&Turns::default()).await, Ok(Some(Frame::Noise(_)))));
        }
    };
    tokio::join!(typing, hearing);

    let (bytes, took) = (line().len() * lines, begun.elapsed());
    assert!(bytes > 2 * READS.1 as usize, "{bytes}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// Time passes with each look at it, so a read takes as long.
fn used() -> Duration {
    static USED: AtomicUsize = AtomicUsize::new(0);
    READ_COST * 4 * u32::try_from(USED.fetch_add(1, Relaxed)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_dearer_its_reads_are_the_less_often_a_guest_is_read() {
    let (ours, mut guest) = UnixStream::pair().unwrap();
    let (mut channel, begun) = (Channel::within(Limits::default(), ours, used), Instant::now());

    for _ in 0..24 {
        guest.write_all(&line()).await.unwrap();
        assert!(matches!(channel.hear(&Turns::default()).await, Ok(Some(Frame::Noise(_)))));
    }

    // Each counts as five: 20 at once, the others at eight a second, each as soon as there is room for the first of its five.
    let took = begun.elapsed();
    assert!((Duration::from_millis(375)..Duration::from_millis(450)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_guest_that_does_not_read_is_cut_off_before_it_costs_memory() {
    let (mut channel, _guest) = pair();

    let ended = (0..10_000).find_map(|_| channel.say_line(&reply()).err());

    assert!(matches!(ended, Some(Ended::NotReading)));
    assert!(channel.outbox.len() <= OUT_BYTES);
}

#[tokio::test]
async fn what_a_slow_guest_did_not_read_at_once_comes_when_it_reads() {
    let (turns, mut said) = (Turns::default(), 0);
    let (mut channel, mut guest) = pair();
    while channel.has_room() {
        channel.say_line(&reply()).unwrap();
        said += reply().len();
    }

    let read = async move {
        guest.read_exact(&mut vec![0; said]).await.unwrap();
    };
    let (ended, ()) = tokio::join!(channel.hear(&turns), read);

    assert!(matches!(ended, Ok(None)), "what waits elsewhere can be sent now");
    assert!(channel.has_room());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_to_nothing_are_read_no_faster_than_lines() {
    let (mut channel, mut guest) = pair();
    let (turns, begun) = (Turns::default(), Instant::now());
    let half = vec![b'x'; CHUNK * 100];

    let write = async {
        guest.write_all(&half).await.unwrap();
        guest.write_all(b"\n").await.unwrap();
    };
    let (heard, ()) = tokio::join!(channel.hear(&turns), write);

    assert!(matches!(heard, Ok(Some(Frame::Noise(_)))));
    // 40 lines' worth at once, the other 60 at 20 a second.
    let took = begun.elapsed();
    assert!((Duration::from_millis(2_800)..Duration::from_millis(3_200)).contains(&took), "{took:?}");
}

/// Counts the frames of a guest that asks without an end.
async fn hear_all(mut channel: Channel<UnixStream>, turns: Turns, heard: Arc<AtomicUsize>) {
    while channel.hear(&turns).await.is_ok() {
        heard.fetch_add(1, Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_little_does_not_wait_for_all_those_that_ask_much() {
    let (turns, heard) = (Turns::default(), Arc::new(AtomicUsize::new(0)));
    let (mut channel, mut guest) = pair();
    let (mut floods, mut all) = (Vec::new(), JoinSet::new());
    for _ in 0..200 {
        let (flooded, mut flood) = pair();
        flood.write_all(&line().repeat(30)).await.unwrap();
        all.spawn(hear_all(flooded, turns.clone(), heard.clone()));
        floods.push(flood);
    }
    while heard.load(Relaxed) < 2_000 {
        tokio::task::yield_now().await;
    }

    let before = heard.load(Relaxed);
    guest.write_all(&line()).await.unwrap();
    assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Noise(_)))));
    let amid = heard.load(Relaxed) - before;
    tokio::time::sleep(Duration::from_secs(1)).await;

    assert!(amid < 100, "{amid} frames of others came first");
    assert_eq!(heard.load(Relaxed), 200 * 30, "and none of theirs is lost");
}

#[tokio::test(start_paused = true)]
async fn a_struct_whose_rest_waits_for_its_turn_is_whole() {
    let (turns, (mut channel, mut guest)) = (Turns::default(), pair());
    let request = SerialRequest { op: Op::List, target: None, seqno: 7 }.encode().unwrap();
    guest.write_all(&line().repeat(6)).await.unwrap();
    guest.write_all(&request[..30]).await.unwrap();
    for _ in 0..6 {
        assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Noise(_)))));
    }
    let half = timeout(Duration::from_millis(100), channel.hear(&turns)).await;
    assert!(half.is_err(), "half a struct is none: {half:?}");

    let mut before_it = turns.line_up();
    assert!(futures_util::poll!(&mut before_it).is_pending());
    guest.write_all(&request[30..]).await.unwrap();
    let amid = timeout(SILENCE * 3, channel.hear(&turns)).await;
    before_it.await;
    let heard = match amid {
        Ok(heard) => heard,
        Err(_) => channel.hear(&turns).await,
    };

    assert!(matches!(heard, Ok(Some(Frame::Legacy(Ok(_))))), "{heard:?}");
}

#[test]
fn the_limits_in_the_protocols_document_are_those_that_hold() {
    use crate::arbiter::OPEN_PER_GUEST;
    use fence_vmchannel_protocol::limits::*;
    let rate = |(each_second, at_once)| format!("{each_second} per second, bursts of {at_once}");
    let rows = [
        format!("| a line, with newline | {LINE_BYTES} bytes |"),
        format!("| a name | {NAME_BYTES} bytes |"),
        format!("| requests of one guest | {} |", rate(REQUESTS)),
        format!("| reads of one guest's socket, of at most {CHUNK} bytes each | {};", rate(READS)),
        format!("takes the host long counts as up to {DEAREST} |"),
        format!("| open orders of one guest | {OPEN_PER_GUEST} |"),
        format!(
            "guest that does not read | {} KiB, {} seconds |",
            OUT_BYTES / 1024,
            WRITE_PATIENCE.as_secs()
        ),
        format!("| `timeout_ms` | {} to {} |", TIMEOUT_MIN.as_millis(), TIMEOUT_MAX.as_millis()),
        format!("`off` or `reboot` | at least {} |", STOP_TIMEOUT_MIN.as_millis()),
        format!("| `delay_ms` | 0 to {} |", DELAY_MAX.as_millis()),
    ];

    let document = include_str!("../../../docs/protocol.md");

    let missing: Vec<_> = rows.iter().filter(|row| !document.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/protocol.md does not say {missing:#?}");
}
