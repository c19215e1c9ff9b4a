//! Guests that send garbage, too much, or do not listen.

use std::time::Duration;

use fence_vmchannel_protocol::signing::{Key, Nonce};
use fence_vmchannel_protocol::{Ask, Body, Reason, Reply, Request, RequestId, Ruling, Verdict, encode_line};
use tokio::time::Instant;

use crate::agent::Agent;
use crate::clock::{pass, settle};
use crate::guest::{off, request};

async fn agent() -> Agent {
    Agent::with_clusters([("web", ["web1", "web2"])]).await
}

fn verdict(reply: &Reply) -> &Verdict {
    let Body::Verdict(verdict) = &reply.body else { panic!("{reply:?}") };
    verdict
}

fn status() -> Request {
    request(Ask::Status("web2".parse().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn noise_is_answered_once_a_second_at_most_and_under_no_id() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    let begun = Instant::now();

    let mut replies = Vec::new();
    while begun.elapsed() < Duration::from_millis(2_500) {
        guest.says(b"[    0.000000] Linux version 6.1\n");
        pass(Duration::from_millis(50)).await;
        replies.extend(guest.hears_all().await);
    }

    assert_eq!(replies.len(), 3, "at 0, 1 and 2 s");
    for reply in &replies {
        assert_eq!(reply.id, RequestId::NONE);
        assert_eq!(verdict(reply).ruling, Ruling::Refused(Reason::BadFrame));
    }
    assert_eq!(guest.asks(&status()).await.ruling, Ruling::Done, "and the next line is heard");
}

#[tokio::test(start_paused = true)]
async fn a_bad_request_is_told_under_its_own_id_with_what_is_wrong() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    let id = "0123456789abcdef0123456789abcdef";

    for (wrong, told) in [
        (serde_json::json!({ "id": id, "op": "explode", "target": "web2" }), "unknown op"),
        (serde_json::json!({ "id": id, "op": "off" }), "target"),
        (serde_json::json!({ "id": id, "op": "off", "target": 7 }), "target"),
        (serde_json::json!({ "id": id, "op": "off", "target": "web2\u{1b}[2J" }), "control"),
        (serde_json::json!({ "id": id, "op": "off", "target": "x".repeat(1025) }), "1024"),
        (serde_json::json!({ "id": id, "op": "off", "target": "web2", "timeout_ms": 1 }), "timeout_ms"),
        (serde_json::json!({ "id": id, "op": "off", "target": "web2", "delay_ms": -1 }), "delay_ms"),
    ] {
        guest.says(&encode_line(&wrong).unwrap());
        let reply = guest.hears().await;

        assert_eq!(reply.id.to_string(), id);
        assert_eq!(verdict(&reply).ruling, Ruling::Refused(Reason::BadRequest), "{wrong}");
        let detail = verdict(&reply).detail.clone().unwrap();
        assert!(detail.contains(told), "{wrong}: {detail}");
    }
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_readable_id_is_told_under_no_id() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    for wrong in [
        serde_json::json!({ "op": "off", "target": "web2" }),
        serde_json::json!({ "id": "0".repeat(32), "op": "off", "target": "web2" }),
        serde_json::json!(["off", "web2"]),
    ] {
        guest.says(&encode_line(&wrong).unwrap());
        let reply = guest.hears().await;

        assert_eq!(reply.id, RequestId::NONE);
        assert_eq!(verdict(&reply).ruling, Ruling::Refused(Reason::BadRequest), "{wrong}");
    }
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_signed_line_is_refused_while_there_are_no_keys() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    let key = Key::try_from(vec![7; 32]).unwrap();
    let line = key.seal_request(&"cluster".parse().unwrap(), &Nonce([0; 16]), &off("web2")).unwrap();

    guest.says(&line);

    assert_eq!(verdict(&guest.hears().await).ruling, Ruling::Refused(Reason::BadSignature));
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_requests_is_answered_in_its_order_without_loss_and_at_the_allowed_rate() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    let flood: Vec<Request> = (0..100).map(|_| status()).collect();
    let begun = Instant::now();

    flood.iter().for_each(|request| guest.sends(request));
    for request in &flood {
        assert_eq!(guest.hears_of(request).await.verdict.ruling, Ruling::Done);
    }

    // 40 at once, the other 60 at 20 a second.
    let took = begun.elapsed();
    assert!((Duration::from_millis(2_900)..Duration::from_millis(3_200)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_guest_does_not_hold_up_another() {
    let agent = agent().await;
    let (mut hostile, mut honest) = (agent.guest("web1").await, agent.guest("web2").await);
    let begun = Instant::now();
    hostile.floods(&encode_line(&status()).unwrap());

    for _ in 0..40 {
        honest.asks(&status()).await;
    }

    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_never_reads_loses_its_connection_and_is_read_no_further_meanwhile() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    let line = encode_line(&request(Ask::Hello)).unwrap();
    let begun = Instant::now();

    let mut written = 0;
    while !guest.was_cut_off() {
        assert!(begun.elapsed() < Duration::from_secs(300), "it is still served");
        written += guest.floods(&line) * line.len();
        pass(Duration::from_millis(100)).await;
    }

    // What a socket holds, and what it may ask in that time; never all that it writes.
    assert!(written < 512 * 1024, "{written} bytes were taken");
    let mut again = agent.guest("web1").await;
    assert_eq!(again.asks(&status()).await.ruling, Ruling::Done, "a new connection is served");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_comes_and_goes_with_half_a_line_harms_nobody() {
    let agent = agent().await;

    for _ in 0..200 {
        agent.guest("web1").await.says(b"fv2 crc:0000");
    }
    settle().await;

    assert_eq!(agent.guest("web2").await.asks(&status()).await.ruling, Ruling::Done);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_its_list_holds_up_nobody_elses() {
    let agent = agent().await;
    let (mut hostile, mut honest) = (agent.guest("web1").await, agent.guest("web2").await);
    for _ in 0..8 {
        hostile.sends(&request(Ask::List)); // and never reads
    }
    settle().await;

    let list = request(Ask::List);
    honest.sends(&list);
    let reply = honest.hears().await;

    assert_eq!(reply.id, list.id);
    assert!(matches!(&reply.body, Body::Items(items, _) if items.len() == 2), "{reply:?}");
}

#[tokio::test(start_paused = true)]
async fn an_id_of_another_guests_request_tells_nothing_of_it_and_stops_nobody() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"]), ("db", ["db1", "db2"])]).await;
    let (mut honest, mut hostile) = (agent.guest("web1").await, agent.guest("db1").await);
    let order = off("web2");
    assert_eq!(honest.asks(&order).await.ruling, Ruling::Done);

    let replayed = hostile.asks(&order).await;

    assert_eq!(replayed.ruling, Ruling::Refused(Reason::NotPermitted));
    assert_eq!((replayed.state, replayed.evidence), (None, None));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn terminal_escapes_reach_no_name_and_no_reply() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    guest.says(b"\x1b[2J\x1b]0;owned\x07\n");
    let noise = guest.hears().await;
    guest.says(
        &encode_line(&serde_json::json!({ "id": "1".repeat(32), "op": "off", "target": "\u{1b}[2J" }))
            .unwrap(),
    );
    let named = guest.hears().await;

    assert_eq!(verdict(&noise).ruling, Ruling::Refused(Reason::BadFrame));
    assert_eq!(verdict(&named).ruling, Ruling::Refused(Reason::BadRequest));
    for reply in [noise, named] {
        assert!(!encode_line(&reply).unwrap().contains(&0x1b), "{reply:?}");
    }
}
