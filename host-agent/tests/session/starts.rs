//! Orders that only start their target, beside others.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::{Evidence, Power, PowerState, Reason, Ruling};

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::pass;
use crate::guest::{off, power};

const SOON: Duration = Duration::from_millis(200);
const SLOW: Duration = Duration::from_secs(2);

/// web3 is off.
async fn beside_one_that_is_off() -> Agent {
    let off = Entry { running: false, ..domain("web3", "web") };
    Agent::with_domains(vec![domain("web1", "web"), domain("web2", "web"), off]).await
}

#[tokio::test(start_paused = true)]
async fn equal_starts_are_one_also_when_the_first_has_begun() {
    let agent = beside_one_that_is_off().await;
    agent.host().starts_in(SLOW, false);
    let (mut one, mut other) = (agent.guest("web1").await, agent.guest("web2").await);
    let (asked, also_asked) = (power(Power::On, "web3"), power(Power::On, "web3"));

    one.sends(&asked);
    pass(SOON).await;
    other.sends(&also_asked);
    let verdicts = [one.hears_of(&asked).await.verdict, other.hears_of(&also_asked).await.verdict];

    assert!(verdicts.iter().all(|verdict| verdict.state == Some(PowerState::On)), "{verdicts:?}");
    assert_eq!(agent.orders(), ["start web3"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_called_off_is_not_started_by_an_order_of_before() {
    for (fails, says, done) in [
        (false, false, vec!["start web3", "stop web3"]),
        (false, true, vec!["start web3", "stop web3"]),
        (true, false, vec!["start web3"]),
        (true, true, vec!["start web3"]),
    ] {
        let agent = beside_one_that_is_off().await;
        agent.host().starts_in(SLOW, fails);
        if says {
            agent.host().says_what_it_prepares();
        }
        let (mut one, mut other) = (agent.guest("web1").await, agent.guest("web2").await);
        let asked = off("web3");

        one.sends(&power(Power::On, "web3"));
        pass(SOON).await;
        other.sends(&asked);
        let verdict = other.hears_of(&asked).await.verdict;
        pass(Duration::from_secs(10)).await;

        assert_eq!((verdict.ruling, verdict.state), (Ruling::Done, Some(PowerState::Off)), "{verdict:?}");
        assert!(!agent.runs("web3"), "{:?}", agent.orders());
        assert_eq!(agent.orders(), done);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_has_not_begun_when_its_target_is_to_be_stopped_does_not_begin() {
    let agent = beside_one_that_is_off().await;
    agent.host().is_silent();
    let (mut one, mut other) = (agent.guest("web1").await, agent.guest("web2").await);
    let (start, stop) = (power(Power::On, "web3"), off("web3"));

    one.sends(&start);
    pass(SOON).await;
    other.sends(&stop);
    pass(SOON).await;
    agent.host().is_heard_again();
    let verdicts = [one.hears_of(&start).await.verdict, other.hears_of(&stop).await.verdict];
    pass(Duration::from_secs(10)).await;

    assert_eq!(verdicts[0].ruling, Ruling::Failed(Reason::Busy), "{verdicts:?}");
    assert_eq!(verdicts[1].state, Some(PowerState::Off), "{verdicts:?}");
    assert!(agent.orders().is_empty() && !agent.runs("web3"));
}

#[tokio::test(start_paused = true)]
async fn a_reboot_of_what_was_off_is_not_joined_while_it_starts() {
    let agent = beside_one_that_is_off().await;
    agent.host().starts_in(SLOW, false);
    let (mut one, mut other) = (agent.guest("web1").await, agent.guest("web2").await);

    one.sends(&power(Power::Reboot, "web3"));
    pass(SOON).await;
    let late = other.asks_reboot("web3").await;

    assert_eq!(late.ruling, Ruling::Refused(Reason::Busy), "the proof is older than its question");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_looked_for_is_looked_for_again() {
    let agent = beside_one_that_is_off().await;
    let (mut guest, asked) = (agent.guest("web1").await, off("web3"));
    agent.host().has_one_that_cannot_be_read(true);

    guest.sends(&asked);
    pass(Duration::from_secs(1)).await;
    agent.host().has_one_that_cannot_be_read(false); // it has become what it was to be
    let verdict = guest.hears_of(&asked).await.verdict;

    assert_eq!(verdict.evidence, Some(Evidence::NeverRanHere), "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_got_another_name_while_it_was_looked_for_is_not_the_one_that_is_called_so_now() {
    let agent = beside_one_that_is_off().await;
    let (mut guest, asked) = (agent.guest("web1").await, off("web3"));
    agent.host().has_one_that_cannot_be_read(true);

    guest.sends(&asked);
    pass(Duration::from_secs(1)).await;
    let renamed = Entry { name: "old".parse().unwrap(), running: false, ..domain("web3", "web") };
    let (host, new) = (agent.host(), Entry { uuid: uuid_of("new"), ..domain("web3", "web") });
    host.is_defined(renamed);
    host.is_defined(new);
    host.is_started(uuid_of("new"));
    host.has_one_that_cannot_be_read(false);
    let verdict = guest.hears_of(&asked).await.verdict;

    assert_eq!(verdict.ruling, Ruling::Failed(Reason::UnknownState), "{verdict:?}");
    assert!(verdict.detail.as_ref().is_some_and(|detail| detail.contains("called old")), "{verdict:?}");
}
