//! What it takes to read a guest, by how its bytes were written.

use std::cell::Cell;

use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

thread_local! {
    /// The bytes that guests with [`Crumbs`] were read on this thread.
    static CRUMBS: Cell<u32> = const { Cell::new(0) };
}

/// A connection whose bytes came one by one, each of which takes 0.7 us to be read.
struct Crumbs(UnixStream);

impl Connection for Crumbs {
    fn is_read(&self) -> bool {
        self.0.is_read()
    }
}

impl AsyncRead for Crumbs {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        CRUMBS.set(CRUMBS.get() + u32::try_from(buf.filled().len() - before).unwrap());
        read
    }
}

impl AsyncWrite for Crumbs {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn crumbs() -> (Channel<Crumbs>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Channel::within(Limits::default(), Crumbs(ours), || Duration::from_nanos(700) * CRUMBS.get()), theirs)
}

#[tokio::test(start_paused = true)]
async fn of_dear_bytes_behind_cheap_ones_only_a_few_are_read_too() {
    const CHEAP_ONES: u32 = 1984;
    let (ours, mut guest) = UnixStream::pair().unwrap();
    let cost = || Duration::from_micros(10) * CRUMBS.get().saturating_sub(CHEAP_ONES);
    let (turns, mut channel) = (Turns::default(), Channel::within(Limits::default(), Crumbs(ours), cost));
    let _another = turn_of_another(&turns);

    guest.write_all(&[b'x'; 4000]).await.unwrap();
    assert!(timeout(A_WHILE, channel.hear(&turns)).await.is_err());

    assert!(CRUMBS.get() <= CHEAP_ONES + 128, "{}", CRUMBS.get());
}

/// Somebody else has its turn until this is dropped.
fn turn_of_another(turns: &Turns) -> BoxFuture<'static, ()> {
    let mut turn = turns.line_up();
    assert!((&mut turn).now_or_never().is_none());
    turn
}

/// Long enough for whatever does not wait for a turn.
const A_WHILE: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn what_is_gathered_of_a_guest_that_speaks_byte_by_byte_waits_for_its_turn() {
    let (turns, (mut channel, mut guest)) = (Turns::default(), crumbs());
    guest.write_all(b"x").await.unwrap();
    assert!(timeout(GATHER / 2, channel.hear(&turns)).await.is_err());
    let another = turn_of_another(&turns);

    guest.write_all(&[b'x'; 277]).await.unwrap();
    assert!(timeout(A_WHILE, channel.hear(&turns)).await.is_err());
    let out_of_turn = CRUMBS.get();
    drop(another);
    guest.write_all(b"\n").await.unwrap();

    assert_eq!(out_of_turn, 1);
    assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Noise(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_turn_in_which_nothing_came_is_no_leave_for_what_comes_later() {
    let (turns, (mut channel, mut guest)) = (Turns::default(), crumbs());
    guest.write_all(&line().repeat(6)).await.unwrap();
    for _ in 0..6 {
        assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Noise(_)))));
    }
    assert!(channel.asks_much());
    assert!(timeout(GATHER, channel.hear(&turns)).await.is_err(), "its turn passes");
    let (another, before) = (turn_of_another(&turns), CRUMBS.get());

    guest.write_all(&line().repeat(10)).await.unwrap();
    let heard = timeout(GATHER, channel.hear(&turns)).await;
    let out_of_turn = CRUMBS.get() - before;
    drop(another);

    assert!(heard.is_err(), "{heard:?}");
    assert_eq!(out_of_turn, 1, "one byte tells that there is something");
    for _ in 0..10 {
        assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Noise(_)))));
    }
}

#[tokio::test(start_paused = true)]
async fn of_dear_bytes_only_a_few_are_read_before_the_turn_of_a_guest_that_asked_little() {
    let (turns, (mut channel, mut guest)) = (Turns::default(), crumbs());
    let another = turn_of_another(&turns);

    guest.write_all(&[&[b'x'; 277][..], b"\n"].concat()).await.unwrap();
    assert!(timeout(GATHER, channel.hear(&turns)).await.is_err());
    let asks_much = channel.asks_much();
    let heard = timeout(A_WHILE, channel.hear(&turns)).await;
    let out_of_turn = CRUMBS.get();
    drop(another);

    assert!(asks_much, "nor are as many read soon again");
    assert!(heard.is_err(), "{heard:?}");
    assert_eq!(out_of_turn, 64);
    assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Noise(_)))));
}

#[tokio::test(start_paused = true)]
async fn of_dear_bytes_no_turn_takes_all() {
    let (turns, (mut channel, mut guest)) = (Turns::default(), crumbs());
    let first = turn_of_another(&turns);
    guest.write_all(&[&[b'x'; 3000][..], b"\n"].concat()).await.unwrap();
    assert!(timeout(A_WHILE, channel.hear(&turns)).await.is_err());
    let (second, before) = (turn_of_another(&turns), CRUMBS.get());

    drop(first);
    assert!(timeout(A_WHILE, channel.hear(&turns)).await.is_err());
    let in_its_turn = CRUMBS.get() - before;
    drop(second);

    assert!((64..=512).contains(&in_its_turn), "{in_its_turn}");
    assert!(
        matches!(channel.hear(&turns).await, Ok(Some(Frame::Noise(_)))),
        "the rest comes in its next turns"
    );
}

#[tokio::test(start_paused = true)]
async fn a_whole_line_of_a_guest_that_asked_little_is_heard_at_once() {
    let (turns, (mut channel, mut guest)) = (Turns::default(), pair());
    let _another = turn_of_another(&turns);

    for length in [10, 63, 64, 65, 1000] {
        guest.write_all(&[&vec![b'x'; length - 1], &b"\n"[..]].concat()).await.unwrap();
        let begun = Instant::now();
        let heard = timeout(A_WHILE, channel.hear(&turns)).await;
        assert!(matches!(heard, Ok(Ok(Some(Frame::Noise(_))))), "{length}: {heard:?}");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        tokio::time::sleep(A_WHILE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whose_requests_take_long_to_be_read_since_the_host_is_busy_waits_for_no_turn() {
    let slow_byte = || Duration::from_nanos(400) * CRUMBS.get(); // 64 of them count as three reads
    let (ours, mut guest) = UnixStream::pair().unwrap();
    let (turns, mut channel) =
        (Turns::default(), Channel::within(Limits::default(), Crumbs(ours), slow_byte));
    let _another = turn_of_another(&turns);
    let line = [&[b'x'; 107][..], b"\n"].concat(); // as long as a request for a status, and counts as four

    for _ in 0..200 {
        tokio::time::sleep(Duration::from_secs(1) / (REQUESTS.0 - 2)).await;
        guest.write_all(&line).await.unwrap();
        let heard = timeout(A_WHILE, channel.hear(&turns)).await;
        assert!(matches!(heard, Ok(Ok(Some(Frame::Noise(_))))), "{heard:?}");
    }

    assert!(!channel.asks_much());
}

#[tokio::test(start_paused = true)]
async fn dear_bytes_that_are_no_request_count_for_what_they_cost() {
    let (turns, (mut channel, mut guest)) = (Turns::default(), crumbs());
    let dear = [b'x'; 60]; // as four reads

    for _ in 0..4 {
        guest.write_all(&dear).await.unwrap();
        assert!(timeout(GATHER * 2, channel.hear(&turns)).await.is_err());
    }

    assert!(channel.asks_much());
}

#[tokio::test(start_paused = true)]
async fn one_read_that_took_long_by_chance_is_soon_forgotten() {
    // The first bytes of the second line took long.
    let used = || READ_COST * 4 * u32::from(CRUMBS.get() > 121);
    let (ours, mut guest) = UnixStream::pair().unwrap();
    let (turns, mut channel) = (Turns::default(), Channel::within(Limits::default(), Crumbs(ours), used));
    let line = [&[b'x'; 120][..], b"\n"].concat();
    let mut ask = async || {
        tokio::time::sleep(Duration::from_secs(1) / (REQUESTS.0 - 2)).await;
        guest.write_all(&line).await.unwrap();
        assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Noise(_)))));
        channel.asks_much()
    };

    assert!(!ask().await);
    assert!(ask().await);
    let mut waited = 1;
    while ask().await {
        waited += 1;
    }

    assert!(waited <= 3, "{waited} of its requests waited for turns");
}

#[tokio::test(start_paused = true)]
async fn half_a_line_behind_each_line_makes_no_read_free() {
    let (turns, (mut channel, mut guest)) = (Turns::default(), pair());
    let (line, half) = (line(), b"half a line");

    guest.write_all(&[&line, &half[..]].concat()).await.unwrap();
    for _ in 0..READS.1 / 10 {
        assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Noise(_)))));
        guest.write_all(&[b"\n", &half[..]].concat()).await.unwrap();
    }
    channel.limits.requests = Limits::default().requests; // they count too, and are not what this is about
    assert!(!channel.asks_much());
    channel.hear(&turns).await.unwrap();
    channel.limits.requests = Limits::default().requests;

    assert!(channel.asks_much());
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_heard_out_when_no_byte_of_it_is_left_to_be_read() {
    let (ours, mut guest) = UnixStream::pair().unwrap();
    let cost = || Duration::from_micros(50) * CRUMBS.get();
    let (turns, mut channel) = (Turns::default(), Channel::within(Limits::default(), Crumbs(ours), cost));
    let asks = SerialRequest { op: Op::Monitor, target: None, seqno: 7 }.encode().unwrap();

    guest.write_all(&[&asks[..], &asks].concat()).await.unwrap();
    assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Legacy(Ok(_))))));
    assert!(!channel.is_heard_out(), "the second one waits");
    assert!(matches!(channel.hear(&turns).await, Ok(Some(Frame::Legacy(Ok(_))))));
    assert!(matches!(channel.hear(&turns).await, Ok(None)), "what waits may be said");

    assert!(channel.is_heard_out());
}
