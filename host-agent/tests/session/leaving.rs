//! Targets that migrate away while they are stopped, and targets that a call of before may start.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::{Evidence, Power, PowerState, Reason, Request, Ruling};

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::pass;
use crate::guest::{Guest, off, power};

/// libvirt takes a second to stop it.
async fn beside_a_slow_one() -> Agent {
    Agent::with_domains(vec![domain("web1", "web"), Entry { stop_ms: 1000, ..domain("web2", "web") }]).await
}

/// web1 has it stopped, and it leaves before that is done.
async fn stopping_in_its_last_moments(asked: &Request) -> (Agent, Guest) {
    let agent = beside_a_slow_one().await;
    let mut guest = agent.guest("web1").await;
    guest.sends(asked);
    pass(Duration::from_millis(600)).await;
    agent.host().leaves(uuid_of("web2"));
    (agent, guest)
}

async fn beside_one_that_is_off() -> Agent {
    Agent::with_domains(vec![domain("web1", "web"), Entry { running: false, ..domain("web2", "web") }]).await
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_stopped_in_its_last_moments_is_not_off_though_libvirt_calls_it_shut_off() {
    let asked = off("web2");
    let (agent, mut guest) = stopping_in_its_last_moments(&asked).await;
    let verdict = guest.hears_of(&asked).await.verdict;

    assert_eq!((verdict.ruling, verdict.evidence), (Ruling::Failed(Reason::Moved), None));
    assert!(!agent.runs("web2"));
    let now = agent.guest("web1").await.asks_status("web2").await;
    assert_eq!(now.ruling, Ruling::Failed(Reason::Moved), "nor is it off afterwards");
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_to_leave_is_not_off_to_the_next_agent_either() {
    let asked = off("web2");
    let (agent, _guest) = stopping_in_its_last_moments(&asked).await;
    pass(Duration::from_millis(10)).await;

    let killed = agent.killed().await; // before the order's end
    killed.ends("web2").await;
    let agent = killed.starts_after(Duration::from_secs(1)).await;
    let again = agent.guest("web1").await.asks(&asked).await;
    let agent = agent.killed_and_started_after(Duration::from_secs(1)).await;
    let anew = agent.guest("web1").await.asks_off("web2").await;
    let now = agent.guest("web1").await.asks_status("web2").await;

    let moved = Ruling::Failed(Reason::Moved);
    assert_eq!([again.ruling, anew.ruling, now.ruling], [moved; 3], "{again:?} {anew:?}");
}

#[tokio::test(start_paused = true)]
async fn what_stayed_is_off_to_the_next_agent_if_it_is() {
    let agent = beside_a_slow_one().await;
    agent.host().leaves(uuid_of("web2"));
    pass(Duration::from_millis(10)).await;
    agent.host().stays();
    pass(Duration::from_secs(31)).await; // the next full look

    let killed = agent.killed().await;
    killed.ends("web2").await;
    let agent = killed.starts_after(Duration::from_secs(1)).await;

    let verdict = agent.guest("web1").await.asks_off("web2").await;
    assert_eq!(verdict.state, Some(PowerState::Off), "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_stop_alone_is_off() {
    let verdict = beside_a_slow_one().await.guest("web1").await.asks(&off("web2")).await;

    assert_eq!((verdict.state, verdict.evidence), (Some(PowerState::Off), Some(Evidence::ProcessGone)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_off_while_a_start_of_before_is_under_way() {
    let agent = beside_one_that_is_off().await;
    agent.host().starts_late(true);
    let mut guest = agent.guest("web1").await;
    let [hasty, patient] =
        [6, 20].map(|seconds| Request { timeout: Duration::from_secs(seconds), ..off("web2") });

    let too_early = guest.asks(&hasty).await;
    guest.sends(&patient);
    pass(Duration::from_secs(3)).await;
    agent.host().is_started(uuid_of("web2")); // libvirt has come to it
    agent.host().starts_late(false);
    let verdict = guest.hears_of(&patient).await.verdict;

    assert_eq!(too_early.ruling, Ruling::Failed(Reason::Timeout));
    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone), "it was started and is stopped: {verdict:?}");
    assert!(!agent.runs("web2"));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_not_begun() {
    for migrating in [None, Some(uuid_of("web2"))] {
        let agent = beside_one_that_is_off().await;
        agent.host().starts_late(true);
        let hasty = Request { timeout: Duration::from_secs(6), ..off("web2") };

        let verdict = agent.guest("web1").await.asks(&hasty).await;
        agent.host().is_started(uuid_of("web2"));
        agent.host().migrates(migrating);
        agent.host().starts_late(false);
        pass(Duration::from_secs(10)).await;

        assert_eq!(verdict.ruling, Ruling::Failed(Reason::Timeout));
        assert!(agent.runs("web2"), "who asks next hears of what is then");
        assert_eq!(agent.orders(), [""; 0], "nor is its migration ended");
        agent.host().migrates(None);
        let anew = agent.guest("web1").await.asks(&power(Power::Reboot, "web2")).await;
        assert_eq!(anew.evidence, Some(Evidence::ProcessGone), "it keeps no place: {anew:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_migration_only_the_order_saw_has_moved_if_it_ends_meanwhile() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let (mut guest, asked) = (agent.guest("web1").await, off("web2"));
    agent.host().migrates(Some(uuid_of("web2"))); // it was paused before: libvirt tells no event of its last moments

    guest.sends(&asked);
    pass(Duration::from_millis(200)).await;
    agent.host().ends(uuid_of("web2")).await;
    agent.host().migrates(None);
    let verdict = guest.hears_of(&asked).await.verdict;

    assert_eq!((verdict.ruling, verdict.evidence), (Ruling::Failed(Reason::Moved), None), "{verdict:?}");
    let (anew, now) = (guest.asks_off("web2").await, guest.asks_status("web2").await);
    assert_eq!([anew.ruling, now.ruling], [Ruling::Failed(Reason::Moved); 2], "nor is it off afterwards");
}
