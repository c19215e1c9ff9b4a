//! An agent to which libvirt has not listed its domains yet: it knows only those that it heard of by themselves.

use fence_vmchannel_protocol::legacy::{Op, SerialRequest};
use fence_vmchannel_protocol::{Ask, Body, Power, Reason, Reply, Request, Ruling, Target, encode_line};

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::settle;
use crate::guest::{reply_in, request};

/// Of `web1`, `web2` and `db1`, the agent has heard of the first and the last.
async fn agent() -> Agent {
    let agent =
        Agent::unlisted(vec![domain("web1", "web"), domain("web2", "web"), domain("db1", "db")]).await;
    agent.hears_of("web1").await;
    agent.hears_of("db1").await;
    agent
}

#[tokio::test(start_paused = true)]
async fn before_the_first_listing_whatever_is_not_permitted_is_to_be_asked_for_again_with_the_same_bytes() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    let asks: [fn(Target) -> Ask; 5] = [
        Ask::Status,
        |target| Ask::Power(Power::Off, target),
        |target| Ask::Power(Power::On, target),
        |target| Ask::Power(Power::Reboot, target),
        |_| Ask::List,
    ];

    let mut answers = Vec::new();
    let template = request(Ask::List);
    for ask in asks {
        for target in ["web2", "db1", "nobody", &uuid_of("web2").to_string(), &uuid_of("db1").to_string()] {
            guest.says(
                &encode_line(&Request { ask: ask(target.parse().unwrap()), ..template.clone() }).unwrap(),
            );
            answers.push(guest.hears_line().await);
        }
    }

    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let Reply { body, .. } = reply_in(&answers[0]);
    let Body::Verdict(verdict) = body else { panic!("{body:?}") };
    assert_eq!(verdict.ruling, Ruling::Failed(Reason::Busy));
    assert!(verdict.detail.unwrap().ends_with("ask again"));
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn before_the_first_listing_what_is_known_and_permitted_is_done_and_after_it_everything_is_as_ever() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    agent.hears_of("web2").await;
    assert_eq!(guest.asks_off("web2").await.ruling, Ruling::Done);
    agent.is_listed().await;

    let names: Vec<_> = guest.asks_list().await.iter().map(|item| item.name.to_string()).collect();
    assert_eq!(names, ["web1", "web2"]);
    for target in ["db1", "nobody"] {
        assert_eq!(guest.asks_off(target).await.ruling, Ruling::Refused(Reason::NotPermitted));
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_first_listing_nobody_is_denied_for_good_in_the_legacy_dialect() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    for (op, target) in [(Op::Off, "web2"), (Op::Status, "db1"), (Op::Reboot, "nobody"), (Op::List, "")] {
        guest.says(&SerialRequest { op, target: target.parse().ok(), seqno: 7 }.encode().unwrap());
        assert_eq!(guest.hears_bytes(5).await, b"abba\x01", "{op:?} {target}");
    }
    settle().await;
    assert!(agent.orders().is_empty());
}
