//! Orders whose libvirt hangs: they take their time, in which others ask, give up, and are fenced themselves.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::{Evidence, Power, PowerState, Reason, Request, Ruling};

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::pass;
use crate::guest::{off, power};

/// libvirt's word is waited for a second before a kill, and half a second after it.
const LOOKING: Duration = Duration::from_millis(500);
const CONFIRMING: Duration = Duration::from_millis(1200);

async fn beside_a_hung_libvirt() -> Agent {
    let agent = Agent::with_clusters([("web", ["web1", "web2", "web3"])]).await;
    agent.host().is_silent();
    agent
}

#[tokio::test(start_paused = true)]
async fn who_joins_when_the_target_is_gone_takes_no_verdict_from_who_asked_before() {
    let agent = beside_a_hung_libvirt().await;
    let (mut early, mut late) = (agent.guest("web1").await, agent.guest("web3").await);
    let (asked, also_asked) = (off("web2"), off("web2"));

    early.sends(&asked);
    pass(CONFIRMING).await;
    assert!(!agent.runs("web2"));
    late.sends(&also_asked);
    let verdict = early.hears_of(&asked).await.verdict;
    let unproven = late.hears_of(&also_asked).await.verdict;

    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone), "{verdict:?}");
    assert!(verdict.took.unwrap() < Duration::from_secs(2), "{verdict:?}");
    assert_eq!(unproven.ruling, Ruling::Failed(Reason::UnknownState), "it may have been started since");
    assert_eq!(early.asks(&asked).await, verdict, "also when it asks again");
}

#[tokio::test(start_paused = true)]
async fn who_asked_before_has_that_verdict_also_on_a_new_connection_and_when_it_was_away() {
    for stays_away in [false, true] {
        let agent = beside_a_hung_libvirt().await;
        let asked = off("web2");
        let mut first = agent.guest("web1").await;
        first.sends(&asked);
        pass(CONFIRMING).await;
        drop(first);
        let mut again = agent.guest("web1").await;
        if !stays_away {
            again.sends(&asked); // on a new connection, and once somebody else has joined
        }
        agent.guest("web3").await.sends(&off("web2"));
        pass(Duration::from_secs(10)).await;

        let verdict = again.asks(&asked).await;

        assert_eq!(verdict.evidence, Some(Evidence::ProcessGone), "{verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_does_not_make_a_proof_older_than_its_question() {
    let agent = beside_a_hung_libvirt().await;
    let (mut guest, mut again) = (agent.guest("web1").await, agent.guest("web1").await);
    let asked = off("web2");

    guest.sends(&asked);
    pass(CONFIRMING).await;
    again.sends(&asked);
    let verdicts = [guest.hears_of(&asked).await.verdict, again.hears_of(&asked).await.verdict];

    assert!(verdicts.iter().all(|verdict| verdict.state == Some(PowerState::Off)), "{verdicts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reboot_whose_target_is_gone_is_not_joined() {
    let agent = beside_a_hung_libvirt().await;
    let (mut early, mut late) = (agent.guest("web1").await, agent.guest("web3").await);
    let asked = power(Power::Reboot, "web2");

    early.sends(&asked);
    pass(CONFIRMING).await;
    let too_late = late.asks_reboot("web2").await;
    let verdict = early.hears_of(&asked).await.verdict;

    assert_eq!(too_late.ruling, Ruling::Refused(Reason::Busy));
    assert_eq!((verdict.ruling, verdict.state), (Ruling::Done, Some(PowerState::On)), "{verdict:?}");
    assert!(agent.runs("web2"));
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_reboot_as_its_target_ends_takes_no_proof_from_who_asked_before() {
    let agent = beside_a_hung_libvirt().await;
    agent.host().is_looked_at_in(Duration::from_millis(300));
    let (mut early, mut late) = (agent.guest("web1").await, agent.guest("web3").await);
    let (asked, also_asked) = (power(Power::Reboot, "web2"), power(Power::Reboot, "web2"));

    early.sends(&asked);
    pass(Duration::from_millis(1450)).await;
    assert!(!agent.runs("web2"));
    late.sends(&also_asked);
    let verdict = early.hears_of(&asked).await.verdict;
    let unproven = late.hears_of(&also_asked).await.verdict;

    assert_eq!(
        (verdict.ruling, verdict.evidence),
        (Ruling::Done, Some(Evidence::ProcessGone)),
        "{verdict:?}"
    );
    assert_eq!(unproven.ruling, Ruling::Failed(Reason::UnknownState), "it may have been started since");
    assert_eq!(early.asks(&asked).await, verdict, "also when it asks again");
}

#[tokio::test(start_paused = true)]
async fn who_asked_before_hears_that_it_was_off_also_when_its_time_ends_as_it_is_looked_at_again() {
    let agent = beside_a_hung_libvirt().await;
    agent.host().is_looked_at_in(Duration::from_millis(300));
    let mut early = agent.guest("web1").await;
    let asked = Request { timeout: Duration::from_secs(6), ..power(Power::Reboot, "web2") };

    early.sends(&asked);
    pass(Duration::from_millis(1450)).await;
    agent.guest("web3").await.sends(&power(Power::Reboot, "web2"));
    let verdict = early.hears_of(&asked).await.verdict;

    assert_eq!(
        (verdict.ruling, verdict.evidence),
        (Ruling::Done, Some(Evidence::ProcessGone)),
        "{verdict:?}"
    );
    pass(Duration::from_secs(10)).await;
    assert_eq!(early.asks(&asked).await, verdict, "also when it asks again");
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_reboot_as_its_target_ends_has_it_rebooted_with_who_asked_before() {
    let agent = Agent::with_domains(vec![
        domain("web1", "web"),
        Entry { stop_ms: 300, ..domain("web2", "web") },
        domain("web3", "web"),
    ])
    .await;
    agent.host().is_looked_at_in(Duration::from_millis(500));
    let (mut early, mut late) = (agent.guest("web1").await, agent.guest("web3").await);
    let (asked, also_asked) = (power(Power::Reboot, "web2"), power(Power::Reboot, "web2"));

    early.sends(&asked);
    pass(Duration::from_millis(700)).await;
    late.sends(&also_asked);
    let verdicts = [early.hears_of(&asked).await.verdict, late.hears_of(&also_asked).await.verdict];

    assert!(verdicts.iter().all(|verdict| verdict.state == Some(PowerState::On)), "{verdicts:?}");
    assert_eq!(agent.orders(), ["stop web2", "start web2"]);
}

#[tokio::test(start_paused = true)]
async fn who_joins_takes_no_proof_from_who_asked_before_where_not_all_processes_can_be_read() {
    let slow = Entry { stop_ms: 300, ..domain("web2", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), slow, domain("web3", "web")]).await;
    agent.host().has_one_that_cannot_be_read(true);
    let (mut early, mut late) = (agent.guest("web1").await, agent.guest("web3").await);
    let (asked, also_asked) = (off("web2"), off("web2"));

    early.sends(&asked);
    pass(Duration::from_millis(100)).await;
    late.sends(&also_asked);
    let verdict = early.hears_of(&asked).await.verdict;
    let unproven = late.hears_of(&also_asked).await.verdict;

    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone), "{verdict:?}");
    assert_eq!(unproven.ruling, Ruling::Failed(Reason::UnknownState), "another may have been started since");
}

#[tokio::test(start_paused = true)]
async fn what_only_a_condemned_guest_asked_for_is_not_begun() {
    let agent = beside_a_hung_libvirt().await;
    let (mut survivor, mut condemned) = (agent.guest("web1").await, agent.guest("web2").await);
    let asked = off("web2");

    condemned.sends(&off("web3"));
    condemned.sends(&off("web3")); // who tries twice is still one
    pass(LOOKING).await;
    survivor.sends(&asked);
    let verdict = survivor.hears_of(&asked).await.verdict;
    pass(Duration::from_secs(10)).await;

    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone));
    assert!(agent.runs("web3"));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_asked_for_too_is_done_though_who_asked_first_is_condemned() {
    let agent = Agent::with_clusters([("web", ["web1", "web2", "web3", "web4"])]).await;
    agent.host().is_silent();
    let (mut one, mut other) = (agent.guest("web1").await, agent.guest("web4").await);
    let (asked, also_asked) = (off("web2"), off("web3"));

    agent.guest("web2").await.sends(&off("web3"));
    pass(LOOKING).await;
    one.sends(&asked);
    other.sends(&also_asked);
    let verdicts = [one.hears_of(&asked).await.verdict, other.hears_of(&also_asked).await.verdict];

    assert!(verdicts.iter().all(|verdict| verdict.state == Some(PowerState::Off)), "{verdicts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_on_two_channels_has_one_verdict_though_their_times_end_apart() {
    let immortal = Entry { immortal: true, ..domain("web2", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), immortal, domain("web3", "web")]).await;
    let (mut guest, mut again) = (agent.guest("web1").await, agent.guest("web1").await);
    let hasty = Request { timeout: Duration::from_secs(6), ..off("web2") };

    agent.guest("web3").await.sends(&off("web2"));
    pass(Duration::from_millis(10)).await;
    guest.sends(&hasty);
    pass(Duration::from_secs(3)).await;
    again.sends(&hasty);
    let verdicts = [guest.hears_of(&hasty).await.verdict, again.hears_of(&hasty).await.verdict];

    assert_eq!(verdicts[0].ruling, Ruling::Failed(Reason::Timeout));
    assert_eq!(verdicts[1], verdicts[0]);
}

#[tokio::test(start_paused = true)]
async fn what_was_started_since_is_not_stopped_for_those_that_had_their_answer_or_are_fenced_themselves() {
    let agent = beside_a_hung_libvirt().await;
    let (mut early, mut late) = (agent.guest("web1").await, agent.guest("web3").await);
    let (asked, also_asked) = (off("web2"), off("web2"));

    early.sends(&asked);
    pass(CONFIRMING).await;
    late.sends(&also_asked); // so that the order looks again
    let first = early.hears_of(&asked).await.verdict;
    early.sends(&off("web3"));
    pass(Duration::from_millis(50)).await;
    agent.host().is_started(uuid_of("web2"));
    agent.host().is_heard_again();
    let second = late.hears_of(&also_asked).await.verdict;
    pass(Duration::from_secs(10)).await;

    assert_eq!(first.evidence, Some(Evidence::ProcessGone));
    assert_eq!(second.ruling, Ruling::Failed(Reason::Condemned));
    assert!(agent.runs("web2"), "its start is somebody's purpose: {:?}", agent.orders());
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_start_over_and_over_keeps_nobody_from_stopping_it() {
    let agent = beside_a_hung_libvirt().await;
    let (mut hostile, mut guest) = (agent.guest("web2").await, agent.guest("web1").await);
    hostile.sends(&power(Power::On, "web2"));
    pass(Duration::from_millis(50)).await;

    let asked = off("web2");
    guest.sends(&asked);
    for _ in 0..40 {
        pass(Duration::from_millis(50)).await;
        hostile.sends(&power(Power::On, "web2"));
    }
    let verdict = guest.hears_of(&asked).await.verdict;

    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone), "{verdict:?}");
    pass(Duration::from_secs(10)).await;
    assert!(!agent.runs("web2"));
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_stops_that_come_to_nothing_keeps_nobody_from_stopping_it() {
    let agent = beside_a_hung_libvirt().await;
    let (mut hostile, mut guest) = (agent.guest("web2").await, agent.guest("web1").await);
    let hasty = |target| Request { timeout: Duration::from_millis(100), ..off(target) };
    hostile.sends(&hasty("web2"));
    hostile.sends(&hasty("web1"));
    pass(Duration::from_millis(150)).await;

    let asked = power(Power::Reboot, "web2");
    guest.sends(&asked);
    let verdict = guest.hears_of(&asked).await.verdict;

    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone), "{verdict:?}");
}
