use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use fence_vmchannel_protocol::{Reason, RequestId, Verdict};

use super::*;

fn pair() -> (Channel<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Channel::new(ours), theirs)
}

fn line() -> Vec<u8> {
    b"fv2 crc:00000000 {}\n".to_vec() // its CRC is wrong: one frame of noise
}

fn reply() -> Reply {
    let body = fence_vmchannel_protocol::Body::Verdict(Verdict::refused(Reason::Busy));
    Reply { id: RequestId::NONE, body }
}

#[tokio::test]
async fn several_frames_of_one_write_are_heard_one_after_the_other() {
    let (mut channel, mut guest) = pair();

    guest.write_all(&[line(), line(), line()].concat()).await.unwrap();

    for _ in 0..3 {
        assert!(matches!(channel.hear().await, Ok(Some(Frame::Noise(_)))));
    }
}

#[tokio::test]
async fn a_closed_connection_ends_the_channel() {
    let (mut channel, guest) = pair();

    drop(guest);

    assert!(matches!(channel.hear().await, Err(Ended::Closed)));
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_allowed_are_heard_later_and_none_is_lost() {
    let (mut channel, mut guest) = pair();
    let begun = Instant::now();

    guest.write_all(&line().repeat(60)).await.unwrap();
    for _ in 0..60 {
        assert!(matches!(channel.hear().await, Ok(Some(Frame::Noise(_)))));
    }

    // 40 at once, the other 20 at 20 a second.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(950) && took < Duration::from_millis(1100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_one_by_one_are_gathered_and_use_up_no_reads() {
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
            assert!(matches!(channel.hear().await, Ok(Some(Frame::Noise(_)))));
        }
    };
    tokio::join!(typing, hearing);

    let (bytes, took) = (line().len() * lines, begun.elapsed());
    assert!(bytes > 2 * READS.1 as usize, "{bytes}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_guest_that_does_not_read_is_cut_off_before_it_costs_memory() {
    let (mut channel, _guest) = pair();

    let ended = (0..10_000).find_map(|_| channel.say(&reply()).err());

    assert!(matches!(ended, Some(Ended::NotReading)));
    assert!(channel.outbox.len() <= OUT_BYTES);
}

#[tokio::test]
async fn what_a_slow_guest_did_not_read_at_once_comes_when_it_reads() {
    let (mut channel, mut guest) = pair();
    let mut said = 0;
    while channel.has_room() {
        channel.say(&reply()).unwrap();
        said += encode_line(&reply()).unwrap().len();
    }

    let read = async move {
        guest.read_exact(&mut vec![0; said]).await.unwrap();
    };
    let (ended, ()) = tokio::join!(channel.hear(), read);

    assert!(matches!(ended, Ok(None)), "what waits elsewhere can be sent now");
    assert!(channel.has_room());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_to_nothing_are_read_no_faster_than_lines() {
    let (mut channel, mut guest) = pair();
    let begun = Instant::now();
    let half = vec![b'x'; CHUNK * 100];

    let write = async {
        guest.write_all(&half).await.unwrap();
        guest.write_all(b"\n").await.unwrap();
    };
    let (heard, ()) = tokio::join!(channel.hear(), write);

    assert!(matches!(heard, Ok(Some(Frame::Noise(_)))));
    // 40 lines' worth at once, the other 60 at 20 a second.
    let took = begun.elapsed();
    assert!((Duration::from_millis(2_800)..Duration::from_millis(3_200)).contains(&took), "{took:?}");
}
