//! Off, on and reboot.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::{Evidence, Method, Power, PowerState, Reason, Request, Ruling};

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::{pass, settle};
use crate::guest::{off, power};

#[tokio::test(start_paused = true)]
async fn off_is_said_with_the_end_of_its_process_as_evidence_and_once_more_without_one() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let mut guest = agent.guest("web1").await;

    let first = guest.asks_off("web2").await;
    let again = guest.asks_off("web2").await;

    assert_eq!((first.ruling, first.state), (Ruling::Done, Some(PowerState::Off)));
    assert_eq!((first.evidence, first.uuid), (Some(Evidence::ProcessGone), Some(uuid_of("web2"))));
    assert_eq!((again.ruling, again.evidence), (Ruling::Done, Some(Evidence::NeverRanHere)));
    assert!(!agent.runs("web2"));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn reboot_gives_another_process_and_says_what_proved_the_end_of_the_first() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let before = agent.pid("web2").await;

    let verdict = agent.guest("web1").await.asks_reboot("web2").await;

    assert_eq!((verdict.ruling, verdict.state), (Ruling::Done, Some(PowerState::On)));
    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone));
    assert_eq!(agent.orders(), ["stop web2", "start web2"]);
    assert!(agent.pid("web2").await.is_some_and(|now| Some(now) != before));
}

#[tokio::test(start_paused = true)]
async fn on_starts_what_is_off_and_leaves_alone_what_runs() {
    let agent =
        Agent::with_domains(vec![domain("web1", "web"), Entry { running: false, ..domain("web2", "web") }])
            .await;
    let mut guest = agent.guest("web1").await;

    let first = guest.asks_on("web2").await;
    let again = guest.asks_on("web2").await;

    assert_eq!((first.ruling, first.state), (Ruling::Done, Some(PowerState::On)));
    assert_eq!((again.ruling, again.state), (Ruling::Done, Some(PowerState::On)));
    assert_eq!(agent.orders(), ["start web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_fenced_and_started_again_may_fence() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    agent.guest("web1").await.asks_reboot("web2").await;

    let verdict = agent.guest("web2").await.asks_off("web1").await;

    assert_eq!(verdict.ruling, Ruling::Done);
    assert!(!agent.runs("web1") && agent.runs("web2"));
}

#[tokio::test(start_paused = true)]
async fn a_guest_may_end_itself() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;

    agent.guest("web1").await.sends(&off("web1"));
    settle().await;

    assert!(!agent.runs("web1"));
}

#[tokio::test(start_paused = true)]
async fn a_reset_inside_the_process_proves_nothing_and_is_unsupported() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;

    let cycle = Request { method: Method::Cycle, ..power(Power::Reboot, "web2") };
    let verdict = agent.guest("web1").await.asks(&cycle).await;

    assert_eq!(verdict.ruling, Ruling::Refused(Reason::Unsupported));
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_waited_for_before_acceptance() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let mut guest = agent.guest("web1").await;
    let delayed = Request { delay: Duration::from_secs(3), ..off("web2") };

    guest.sends(&delayed);
    pass(Duration::from_millis(2990)).await;
    assert!(agent.orders().is_empty(), "too early");
    pass(Duration::from_millis(10)).await;

    assert_eq!(agent.orders(), ["stop web2"]);
    assert_eq!(guest.hears_of(&delayed).await.verdict.ruling, Ruling::Done);
}

#[tokio::test(start_paused = true)]
async fn an_order_goes_on_when_its_guest_vanishes_and_its_verdict_is_kept() {
    let agent =
        Agent::with_domains(vec![domain("web1", "web"), Entry { stop_ms: 3_000, ..domain("web2", "web") }])
            .await;
    let mut guest = agent.guest("web1").await;
    let asked = off("web2");

    guest.sends(&asked);
    settle().await;
    drop(guest);
    pass(Duration::from_secs(4)).await;

    assert!(!agent.runs("web2"));
    let verdict = agent.guest("web1").await.asks(&asked).await;
    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone), "asked again, it hears how it ended");
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stops_takes_no_new_orders_and_finishes_the_old_ones() {
    let agent = Agent::with_domains(vec![
        domain("web1", "web"),
        Entry { stop_ms: 1_000, ..domain("web2", "web") },
        domain("web3", "web"),
    ])
    .await;
    let (mut guest, mut other) = (agent.guest("web1").await, agent.guest("web1").await);
    let before = off("web2");

    guest.sends(&before);
    settle().await;
    agent.begins_to_stop();
    let after = other.asks_off("web3").await;

    assert_eq!(after.ruling, Ruling::Failed(Reason::Stopping));
    assert_eq!(guest.hears_of(&before).await.verdict.evidence, Some(Evidence::ProcessGone));
    assert!(agent.runs("web3"));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stops_tells_the_verdicts_of_what_it_did_to_who_asks_again() {
    let agent = Agent::with_domains(vec![
        domain("web1", "web"),
        domain("web2", "web"),
        Entry { stop_ms: 4_000, ..domain("web3", "web") },
    ])
    .await;
    let (mut guest, mut other) = (agent.guest("web1").await, agent.guest("web1").await);
    let (ended, runs) = (off("web2"), off("web3"));
    let first = guest.asks(&ended).await;
    guest.sends(&runs);
    let delayed = Request { delay: Duration::from_secs(2), ..off("web3") };
    let delayed_again = Request { delay: delayed.delay, ..ended.clone() };
    other.sends(&delayed);
    settle().await;

    agent.begins_to_stop();
    let again = other.asks(&delayed_again).await;
    let after_its_delay = other.hears_of(&delayed).await.verdict;
    other.sends(&runs);
    let joined = other.hears_of(&runs).await.verdict;

    assert_eq!(again, first);
    assert_eq!(after_its_delay.ruling, Ruling::Failed(Reason::Stopping), "it was never accepted");
    assert_eq!(joined.evidence, Some(Evidence::ProcessGone));
    assert_eq!(agent.orders(), ["stop web2", "stop web3"]);
}
