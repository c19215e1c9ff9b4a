//! Targets that do not stop when they are asked to.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::{Evidence, Phase, PowerState, Reason, Request, Ruling};

use crate::agent::{Agent, GIVE_UP, GRACE, domain};
use crate::clock::pass;
use crate::guest::off;

async fn beside_a_stubborn_one() -> Agent {
    Agent::with_domains(vec![domain("web1", "web"), Entry { stubborn: true, ..domain("web2", "web") }]).await
}

async fn beside_an_immortal_one() -> Agent {
    Agent::with_domains(vec![domain("web1", "web"), Entry { immortal: true, ..domain("web2", "web") }]).await
}

#[tokio::test(start_paused = true)]
async fn a_stubborn_target_is_killed_after_the_grace_and_progress_is_told_each_second_until_then() {
    let agent = beside_a_stubborn_one().await;
    let mut guest = agent.guest("web1").await;
    let asked = off("web2");

    guest.sends(&asked);
    pass(GRACE - Duration::from_millis(10)).await;
    assert!(agent.runs("web2"), "libvirt has its time");
    let answer = guest.hears_of(&asked).await;

    assert_eq!(answer.verdict.evidence, Some(Evidence::ProcessGone));
    assert_eq!(answer.verdict.took, Some(GRACE));
    // What falls on the same instant as the kill may be told or not.
    let before: Vec<_> = answer.progress.into_iter().filter(|(_, elapsed)| *elapsed < GRACE).collect();
    assert_eq!(before, [1, 2, 3, 4].map(|seconds| (Phase::Stopping, Duration::from_secs(seconds))));
}

#[tokio::test(start_paused = true)]
async fn a_client_in_a_hurry_has_its_target_killed_after_half_of_its_time() {
    let agent = beside_a_stubborn_one().await;

    let hasty = Request { timeout: Duration::from_secs(6), ..off("web2") };
    let verdict = agent.guest("web1").await.asks(&hasty).await;

    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone));
    assert_eq!(verdict.took, Some(Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn an_immortal_target_fails_at_the_deadline_with_its_pid_and_state_and_is_never_off() {
    let agent = beside_an_immortal_one().await;
    let mut guest = agent.guest("web1").await;
    let asked = off("web2");

    guest.sends(&asked);
    let answer = guest.hears_of(&asked).await;
    let verdict = answer.verdict;

    assert_eq!(verdict.ruling, Ruling::Failed(Reason::CannotKill));
    assert_eq!((verdict.state, verdict.evidence), (None, None));
    assert_eq!(verdict.took, Some(GIVE_UP));
    assert!(GIVE_UP < asked.timeout, "before the client gives up");
    let (pid, detail) = (agent.pid("web2").await.unwrap(), verdict.detail.unwrap());
    assert!(detail.contains(&format!("pid {pid}")) && detail.contains("D (disk sleep)"), "{detail}");
    // What falls on the same instant as the kill or the end may be told or not.
    let phase_at = |seconds| if seconds < 5 { Phase::Stopping } else { Phase::Killing };
    let told = answer.progress.into_iter().filter(|(_, elapsed)| ![GRACE, GIVE_UP].contains(elapsed));
    let seconds = (1..=44).filter(|&seconds| seconds != 5);
    assert_eq!(
        told.collect::<Vec<_>>(),
        seconds.map(|s| (phase_at(s), Duration::from_secs(s))).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_time_is_over_first_hears_timeout_with_the_pid_and_state_and_never_off() {
    let agent = beside_an_immortal_one().await;
    let mut guest = agent.guest("web1").await;
    let short = Request { timeout: Duration::from_secs(20), ..off("web2") };

    let verdict = guest.asks(&short).await;

    assert_eq!(verdict.ruling, Ruling::Failed(Reason::Timeout));
    assert_eq!((verdict.state, verdict.evidence), (None, None));
    assert!(verdict.took.unwrap() <= short.timeout, "{verdict:?}");
    let (pid, detail) = (agent.pid("web2").await.unwrap(), verdict.detail.clone().unwrap());
    assert!(detail.contains(&format!("pid {pid}")) && detail.contains("D (disk sleep)"), "{detail}");
    assert_eq!(guest.asks(&short).await, verdict, "and a repeat of its request hears the same");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_killed_is_on_and_may_not_act() {
    let agent = beside_an_immortal_one().await;
    let (mut killer, mut zombie) = (agent.guest("web1").await, agent.guest("web2").await);
    killer.asks_off("web2").await;

    assert_eq!(killer.asks_status("web2").await.state, Some(PowerState::On));
    assert_eq!(zombie.asks_off("web1").await.ruling, Ruling::Refused(Reason::Condemned));
    let again = killer.asks_off("web2").await;

    assert_eq!(again.ruling, Ruling::Failed(Reason::CannotKill), "a new request is a new try");
    assert_eq!(agent.orders(), ["stop web2", "stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_of_what_cannot_be_killed_starts_nothing() {
    let agent = beside_an_immortal_one().await;

    let verdict = agent.guest("web1").await.asks_reboot("web2").await;

    assert_eq!(verdict.ruling, Ruling::Failed(Reason::CannotKill));
    assert_eq!(agent.orders(), ["stop web2"]);
}
