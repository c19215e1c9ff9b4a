//! Every request acts once, and each asker gets its verdict.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::{Evidence, Power, Reason, Request, Ruling};

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::pass;
use crate::guest::{off, power};

/// web1 and others that take this long to stop.
async fn slow(names: &[&str], stop_ms: u64) -> Agent {
    let slow = |name: &&str| Entry { stop_ms, ..domain(name, "web") };
    Agent::with_domains([domain("web1", "web")].into_iter().chain(names.iter().map(slow)).collect()).await
}

#[tokio::test(start_paused = true)]
async fn a_repeated_id_gets_the_stored_verdict_and_never_acts_twice() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let mut guest = agent.guest("web1").await;
    let asked = off("web2");
    let first = guest.asks(&asked).await;
    guest.asks_on("web2").await; // on again: a second `off` would be seen

    let on_this_connection = guest.asks(&asked).await;
    let on_another = agent.guest("web1").await.asks(&asked).await;

    assert_eq!((&on_this_connection, &on_another), (&first, &first));
    assert!(agent.runs("web2"));
    assert_eq!(agent.orders(), ["stop web2", "start web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_while_the_order_runs_joins_it_on_another_connection_and_is_silent_on_the_same() {
    let agent = slow(&["web2"], 500).await;
    let (mut guest, mut again) = (agent.guest("web1").await, agent.guest("web1").await);
    let asked = off("web2");

    guest.sends(&asked);
    guest.sends(&asked);
    again.sends(&asked);
    pass(Duration::from_secs(1)).await;

    for guest in [&mut guest, &mut again] {
        let replies = guest.hears_all().await;
        assert_eq!(replies.iter().filter(|reply| reply.is_final()).count(), 1, "{replies:?}");
    }
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_whose_target_is_forgotten_during_its_delay_gets_the_verdict() {
    let transient = Entry { persistent: false, ..domain("web2", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), transient]).await;
    let (mut guest, mut again) = (agent.guest("web1").await, agent.guest("web1").await);
    let asked = Request { delay: Duration::from_secs(3), ..off("web2") };

    guest.sends(&asked);
    pass(Duration::from_secs(1)).await;
    again.sends(&asked); // before the first is accepted
    let first = guest.hears_of(&asked).await.verdict;
    agent.undefines("web2");
    let second = again.hears_of(&asked).await.verdict;

    assert_eq!((first.evidence, second.evidence), (Some(Evidence::ProcessGone), first.evidence));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_used_for_something_else_is_a_bad_request() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let mut guest = agent.guest("web1").await;
    let first = off("web2");
    guest.asks(&first).await;

    let verdict = guest.asks(&Request { id: first.id, ..power(Power::Reboot, "web2") }).await;

    assert_eq!(verdict.ruling, Ruling::Refused(Reason::BadRequest));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn equal_requests_of_two_guests_are_one_action_with_a_verdict_for_each() {
    let agent = slow(&["web2", "web3"], 500).await;
    let (mut one, mut other) = (agent.guest("web1").await, agent.guest("web2").await);
    let (asked, also_asked) = (off("web3"), off("web3"));

    one.sends(&asked);
    pass(Duration::from_millis(200)).await;
    other.sends(&also_asked);
    let verdicts = [one.hears_of(&asked).await.verdict, other.hears_of(&also_asked).await.verdict];

    assert!(verdicts.iter().all(|verdict| verdict.evidence == Some(Evidence::ProcessGone)), "{verdicts:?}");
    assert_eq!(agent.orders(), ["stop web3"]);
}

#[tokio::test(start_paused = true)]
async fn another_order_on_a_target_that_has_one_is_busy() {
    let agent = slow(&["web2"], 500).await;
    let (mut one, mut other) = (agent.guest("web1").await, agent.guest("web1").await);
    one.sends(&off("web2"));
    pass(Duration::from_millis(100)).await;

    let verdict = other.asks_reboot("web2").await;

    assert_eq!(verdict.ruling, Ruling::Refused(Reason::Busy));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn the_fifth_open_order_of_a_guest_is_busy_on_whatever_connection() {
    let agent = slow(&["web2", "web3", "web4", "web5", "web6"], 500).await;
    let (mut one, mut other) = (agent.guest("web1").await, agent.guest("web1").await);
    for target in ["web2", "web3"] {
        one.sends(&off(target));
    }
    for target in ["web4", "web5"] {
        other.sends(&off(target));
    }
    pass(Duration::from_millis(100)).await;

    let fifth = other.asks_off("web6").await;
    pass(Duration::from_secs(1)).await;
    let later = agent.guest("web1").await.asks_off("web6").await;

    assert_eq!(fifth.ruling, Ruling::Refused(Reason::Busy));
    assert_eq!(later.ruling, Ruling::Done, "there is room again");
    assert_eq!(agent.orders().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn at_most_eight_requests_of_a_connection_wait_and_what_needs_no_wait_is_answered_all_the_same() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let mut guest = agent.guest("web1").await;
    for _ in 0..8 {
        guest.sends(&Request { delay: Duration::from_secs(5), ..off("web2") });
    }

    let ninth = guest.asks_off("web2").await;
    pass(Duration::from_secs(6)).await;
    let replies = guest.hears_all().await;

    assert_eq!(ninth.ruling, Ruling::Refused(Reason::Busy));
    assert_eq!(replies.iter().filter(|reply| reply.is_final()).count(), 8);
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn orders_whose_guest_vanished_are_not_open_once_they_have_ended() {
    let agent = slow(&["web2", "web3", "web4", "web5", "web6"], 500).await;
    for target in ["web2", "web3", "web4", "web5"] {
        agent.guest("web1").await.sends(&off(target));
        pass(Duration::from_millis(100)).await; // accepted, and its connection is closed
    }
    pass(Duration::from_secs(1)).await;

    let verdict = agent.guest("web1").await.asks_off("web6").await;

    assert_eq!(verdict.ruling, Ruling::Done, "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_answered_though_its_targets_name_is_anothers_too() {
    let immortal = Entry { immortal: true, ..domain("web2", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), immortal]).await;
    let asked = off("web2");
    agent.guest("web1").await.sends(&asked);
    pass(Duration::from_secs(1)).await;
    agent.host().is_undefined(uuid_of("web2")); // its process lives
    agent.host().is_defined(Entry { uuid: uuid_of("web9"), running: false, ..domain("web2", "web") });
    pass(Duration::from_secs(1)).await;

    let mut again = agent.guest("web1").await;
    let by_name = again.asks_off("web2").await;
    let verdict = again.asks(&asked).await;

    assert_eq!(by_name.ruling, Ruling::Refused(Reason::NotPermitted), "it means neither");
    assert_eq!(verdict.ruling, Ruling::Failed(Reason::CannotKill), "{verdict:?}");
}
