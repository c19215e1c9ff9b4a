//! An agent that is killed in the middle of an order, and started again.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_host_agent::journal::{Record, Store};
use fence_vmchannel_protocol::{Evidence, Power, PowerState, Reason, Request, Ruling};

use tokio::time::Instant;

use crate::agent::{Agent, GIVE_UP, Killed, domain, uuid_of};
use crate::clock::pass;
use crate::guest::{off, power};

const SOON: Duration = Duration::from_millis(200);

async fn beside(entry: Entry) -> Agent {
    Agent::with_domains(vec![domain("web1", "web"), entry]).await
}

async fn beside_a_slow_one() -> Agent {
    beside(Entry { stop_ms: 500, ..domain("web2", "web") }).await
}

#[tokio::test(start_paused = true)]
async fn an_order_of_before_a_restart_is_finished_and_who_asks_again_hears_its_end() {
    let agent = beside_a_slow_one().await;
    let asked = off("web2");
    agent.guest("web1").await.sends(&asked);
    pass(SOON).await;

    let agent = agent.killed_and_started_after(SOON).await;
    let verdict = agent.guest("web1").await.asks(&asked).await;

    assert_eq!((verdict.state, verdict.evidence), (Some(PowerState::Off), Some(Evidence::ProcessGone)));
    assert!(!agent.runs("web2"));
    assert_eq!(agent.orders(), ["stop web2", "stop web2"], "of one and the same run");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_of_before_a_restart_is_given_again_and_nothing_is_done() {
    let agent = beside_a_slow_one().await;
    let asked = off("web2");
    let mut guest = agent.guest("web1").await;
    let first = guest.asks(&asked).await;
    guest.asks_on("web2").await;

    let agent = agent.killed_and_started_after(SOON).await;
    let again = agent.guest("web1").await.asks(&asked).await;

    assert_eq!((again.ruling, again.state, again.evidence), (first.ruling, first.state, first.evidence));
    assert!(agent.runs("web2"));
    assert_eq!(agent.orders(), ["stop web2", "start web2"]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_after_a_restart_does_not_wait_for_its_delay_once_more() {
    let agent = beside_a_slow_one().await;
    let asked = Request { delay: Duration::from_secs(5), ..off("web2") };
    let mut guest = agent.guest("web1").await;
    guest.sends(&asked);
    pass(asked.delay + SOON).await;

    let agent = agent.killed_and_started_after(SOON).await;
    let begun = Instant::now();
    let verdict = agent.guest("web1").await.asks(&asked).await;
    let took = begun.elapsed();
    let told_again = agent.guest("web1").await.asks(&asked).await;

    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone));
    assert_eq!(told_again.evidence, verdict.evidence);
    assert!(took < Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(1), "{took:?}");
    assert_eq!(agent.orders(), ["stop web2", "stop web2"], "of one and the same run");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_ended_while_the_agent_was_away_is_off_by_what_is_seen_now() {
    let agent = beside_a_slow_one().await;
    let asked = off("web2");
    agent.guest("web1").await.sends(&asked);
    pass(SOON).await;

    let host = agent.killed().await;
    host.ends("web2").await;
    let agent = host.starts_after(SOON).await;
    let verdict = agent.guest("web1").await.asks(&asked).await;

    assert_eq!((verdict.state, verdict.evidence), (Some(PowerState::Off), Some(Evidence::NeverRanHere)));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_started_while_the_agent_was_away_is_left_alone_and_not_called_off() {
    let agent = beside_a_slow_one().await;
    let asked = off("web2");
    agent.guest("web1").await.sends(&asked);
    pass(SOON).await;

    let host = agent.killed().await;
    host.ends("web2").await;
    host.somebody_starts("web2");
    let agent = host.starts_after(SOON).await;
    let verdict = agent.guest("web1").await.asks(&asked).await;

    assert_eq!(verdict.ruling, Ruling::Failed(Reason::UnknownState));
    assert!(verdict.detail.unwrap().contains("started again"));
    assert!(agent.runs("web2"));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_that_was_interrupted_between_off_and_on_is_completed() {
    let agent = beside_a_slow_one().await;
    let asked = power(Power::Reboot, "web2");
    agent.guest("web1").await.sends(&asked);
    pass(SOON).await;

    let host = agent.killed().await;
    host.ends("web2").await;
    let agent = host.starts_after(SOON).await;
    pass(SOON).await;

    assert!(agent.runs("web2"), "also if nobody asks again");
    let verdict = agent.guest("web1").await.asks(&asked).await;
    assert_eq!(verdict.state, Some(PowerState::On));
    assert!(verdict.evidence.is_some());
    assert_eq!(agent.orders(), ["stop web2", "start web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_transient_target_is_started_from_the_xml_that_the_journal_kept() {
    let agent = beside(Entry { persistent: false, stop_ms: 500, ..domain("web2", "web") }).await;
    let asked = power(Power::Reboot, "web2");
    agent.guest("web1").await.sends(&asked);
    pass(SOON).await;

    let agent = agent.killed_and_started_after(SOON).await;
    let verdict = agent.guest("web1").await.asks(&asked).await;

    assert_eq!((verdict.ruling, verdict.state), (Ruling::Done, Some(PowerState::On)));
    assert!(agent.runs("web2"));
}

/// A reboot of web2 whose off was proven and written down before the agent was killed, and its start was not.
async fn proven_off_and_killed() -> (Killed, Request) {
    let agent = beside_a_slow_one().await;
    let asked = power(Power::Reboot, "web2");
    agent.guest("web1").await.sends(&asked);
    pass(SOON).await;
    let host = agent.killed().await;
    host.ends("web2").await;
    let proven = Record::Off { order: 1, evidence: Evidence::ProcessGone };
    host.paper().clone().append(&proven.to_line().unwrap(), 0).unwrap();
    (host, asked)
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_proven_off_before_a_restart_is_started_after_it() {
    let (host, asked) = proven_off_and_killed().await;

    let agent = host.starts_after(SOON).await;
    let verdict = agent.guest("web1").await.asks(&asked).await;

    assert_eq!((verdict.state, verdict.evidence), (Some(PowerState::On), Some(Evidence::ProcessGone)));
    assert_eq!(agent.orders(), ["stop web2", "start web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_runs_again_is_not_rebooted_once_more() {
    let (host, asked) = proven_off_and_killed().await;
    host.somebody_starts("web2");

    let agent = host.starts_after(SOON).await;
    let verdict = agent.guest("web1").await.asks(&asked).await;

    assert_eq!((verdict.state, verdict.evidence), (Some(PowerState::On), Some(Evidence::ProcessGone)));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_for_somebody_who_does_not_wait_any_more() {
    let (host, asked) = proven_off_and_killed().await;

    let agent = host.starts_after(GIVE_UP).await;
    let verdict = agent.guest("web1").await.asks(&asked).await;

    assert_eq!((verdict.ruling, verdict.state), (Ruling::Done, None), "it was off");
    assert!(!agent.runs("web2"), "somebody may keep it off on purpose by now");
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_asker_has_given_up_stops_nobody_after_a_restart() {
    let agent = beside_a_slow_one().await;
    let hasty = Request { timeout: Duration::from_secs(6), ..off("web2") };
    agent.guest("web1").await.sends(&hasty);
    pass(SOON).await;

    let agent = agent.killed_and_started_after(Duration::from_secs(7)).await;
    pass(Duration::from_secs(20)).await;

    assert!(agent.runs("web2"));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_anew_does_not_join_an_order_that_nobody_waits_for() {
    let agent = beside(Entry { stop_ms: 60_000, ..domain("web2", "web") }).await;
    agent.guest("web1").await.sends(&off("web2"));
    pass(SOON).await;

    let agent = agent.killed_and_started_after(2 * GIVE_UP).await;
    let mut guest = agent.guest("web1").await;
    let first = guest.asks_off("web2").await;

    assert!(first.evidence.is_some() || first.ruling == Ruling::Failed(Reason::Busy), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_answered_though_its_target_is_no_longer_known() {
    let agent = beside(Entry { persistent: false, ..domain("web2", "web") }).await;
    let asked = off("web2");
    let first = agent.guest("web1").await.asks(&asked).await;
    agent.undefines("web2");
    pass(Duration::from_secs(31)).await;
    let mut guest = agent.guest("web1").await;
    assert_eq!(guest.asks_off("web2").await.ruling, Ruling::Refused(Reason::NotPermitted));

    let again = guest.asks(&asked).await;
    assert_eq!(again, first);

    let agent = agent.killed_and_started_after(SOON).await;
    let after_restart = agent.guest("web1").await.asks(&asked).await;
    assert_eq!((after_restart.state, after_restart.evidence), (first.state, first.evidence));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_used_for_another_target_tells_nothing_of_it() {
    let agent = beside(domain("web2", "web")).await;
    let asked = off("web2");
    let mut guest = agent.guest("web1").await;
    guest.asks(&asked).await;

    let verdict = guest.asks(&Request { id: asked.id, ..off("nobody") }).await;

    assert_eq!((verdict.ruling, verdict.state), (Ruling::Refused(Reason::NotPermitted), None));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_used_for_another_op_is_no_repeat() {
    let agent = beside(Entry { persistent: false, ..domain("web2", "web") }).await;
    let asked = off("web2");
    agent.guest("web1").await.asks(&asked).await;

    let verdict =
        agent.guest("web1").await.asks(&Request { id: asked.id, ..power(Power::On, "nobody") }).await;

    assert_eq!(verdict.ruling, Ruling::Refused(Reason::NotPermitted));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_away_for_too_long_stops_nobody() {
    let agent = beside_a_slow_one().await;
    let asked = off("web2");
    agent.guest("web1").await.sends(&asked);
    pass(SOON).await;

    let agent = agent.killed_and_started_after(GIVE_UP).await;
    let verdict = agent.guest("web1").await.asks(&asked).await;

    assert_eq!(verdict.ruling, Ruling::Failed(Reason::UnknownState));
    assert!(agent.runs("web2"));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_killed_may_not_act_after_a_restart_either() {
    let agent = beside(Entry { immortal: true, ..domain("web2", "web") }).await;
    agent.guest("web1").await.asks_off("web2").await;

    let agent = agent.killed_and_started_after(SOON).await;
    let verdict = agent.guest("web2").await.asks_off("web1").await;

    assert_eq!(verdict.ruling, Ruling::Refused(Reason::Condemned));
}

#[tokio::test(start_paused = true)]
async fn who_joined_an_order_hears_its_end_after_a_restart_too() {
    let slow = Entry { stop_ms: 500, ..domain("web3", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), domain("web2", "web"), slow]).await;
    let (asked, also_asked) = (off("web3"), off("web3"));
    agent.guest("web1").await.sends(&asked);
    pass(SOON).await;
    agent.guest("web2").await.sends(&also_asked);
    pass(SOON).await;

    let agent = agent.killed_and_started_after(SOON).await;
    let verdicts =
        [agent.guest("web1").await.asks(&asked).await, agent.guest("web2").await.asks(&also_asked).await];

    assert!(verdicts.iter().all(|verdict| verdict.evidence == Some(Evidence::ProcessGone)), "{verdicts:?}");
    assert_eq!(agent.orders(), ["stop web3", "stop web3"], "of one and the same run");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_while_the_journal_cannot_be_written_and_the_failure_says_so() {
    let agent = beside_a_slow_one().await;
    let mut guest = agent.guest("web1").await;
    agent.paper().is_full(true);

    let verdict = guest.asks_off("web2").await;

    assert_eq!(verdict.ruling, Ruling::Failed(Reason::Busy));
    let detail = verdict.detail.unwrap();
    assert!(detail.contains("journal") && detail.contains("make room"), "{detail}");
    assert!(agent.orders().is_empty());
    agent.paper().is_full(false);
    assert_eq!(guest.asks_off("web2").await.evidence, Some(Evidence::ProcessGone));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_in_mid_order_takes_no_verdict_away() {
    let agent = beside_a_slow_one().await;
    let mut guest = agent.guest("web1").await;
    let asked = off("web2");
    guest.sends(&asked);
    pass(SOON).await;
    agent.paper().is_full(true);
    let first = guest.hears_of(&asked).await.verdict;
    assert_eq!(first.evidence, Some(Evidence::ProcessGone), "it was seen, whatever can be written");

    agent.paper().is_full(false);
    guest.asks_on("web2").await;
    let agent = agent.killed_and_started_after(SOON).await;
    let again = agent.guest("web1").await.asks(&asked).await;

    assert_eq!((again.state, again.evidence), (first.state, first.evidence));
    assert!(agent.runs("web2"));
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_while_a_proven_reboot_is_taken_up_hears_that_it_was_off() {
    let agent = beside(domain("web2", "web")).await;
    agent.host().starts_in(Duration::from_secs(60), false);
    let asked = Request { timeout: Duration::from_secs(6), ..power(Power::Reboot, "web2") };
    agent.guest("web1").await.sends(&asked);
    pass(SOON).await;
    assert_eq!(agent.orders(), ["stop web2", "start web2"]);

    agent.host().is_silent();
    let agent = agent.killed_and_started_after(SOON).await;
    let verdict = agent.guest("web1").await.asks(&asked).await;

    assert_eq!(
        (verdict.ruling, verdict.evidence),
        (Ruling::Done, Some(Evidence::ProcessGone)),
        "{verdict:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_libvirt_is_still_starting_after_a_restart_is_told_once_it_runs() {
    for (asked, runs) in [(power(Power::Reboot, "web2"), true), (power(Power::On, "web2"), false)] {
        let agent = beside(Entry { running: runs, ..domain("web2", "web") }).await;
        agent.host().starts_in(Duration::from_secs(60), false);
        agent.host().says_what_it_prepares();
        agent.guest("web1").await.sends(&asked);
        pass(SOON).await;
        let before = agent.orders();

        let agent = agent.killed_and_started_after(SOON).await;
        let mut guest = agent.guest("web1").await;
        guest.sends(&asked);
        pass(Duration::from_secs(2)).await;
        agent.host().is_started(uuid_of("web2")); // libvirt has done what the agent of before asked for
        let verdict = guest.hears_of(&asked).await.verdict;

        assert_eq!((verdict.ruling, verdict.state), (Ruling::Done, Some(PowerState::On)), "{verdict:?}");
        assert_eq!(agent.orders(), before, "it is started once");
    }
}
