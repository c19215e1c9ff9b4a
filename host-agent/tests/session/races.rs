//! Two nodes that lost each other.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::{Power, Reason, Request, Ruling};

use crate::agent::{Agent, domain};
use crate::clock::{pass, settle};
use crate::guest::{off, power};

const CONDEMNED: Ruling = Ruling::Refused(Reason::Condemned);

/// One round: both ask at the same instant, and their bytes arrive in this order. Who survives.
async fn duel(first: &str, second: &str, powers: [Power; 2], stop_ms: u64) -> String {
    let slow = |name| Entry { stop_ms, ..domain(name, "web") };
    let agent = Agent::with_domains(vec![slow("web1"), slow("web2")]).await;
    // The sessions take turns in the order in which they began, so that is varied too.
    let mut one = agent.guest("web1").await;
    let mut two = agent.guest("web2").await;
    let (one, two) = if first == "web1" { (&mut one, &mut two) } else { (&mut two, &mut one) };
    let (by_first, by_second) = (power(powers[0], second), power(powers[1], first));
    let pids = [agent.pid(first).await, agent.pid(second).await];

    one.sends(&by_first);
    two.sends(&by_second);
    let verdicts = [one.hears_of(&by_first).await.verdict, two.hears_of(&by_second).await.verdict];
    pass(Duration::from_secs(1)).await;

    let survives = |pid: Option<i32>, now: Option<i32>| pid == now;
    let alive = [survives(pids[0], agent.pid(first).await), survives(pids[1], agent.pid(second).await)];
    let rulings = verdicts.map(|verdict| verdict.ruling);
    match alive {
        [true, false] => assert_eq!(rulings, [Ruling::Done, CONDEMNED]),
        [false, true] => assert_eq!(rulings, [CONDEMNED, Ruling::Done]),
        both => panic!("exactly one survives, but {both:?}: {rulings:?}"),
    }
    let stops = agent.orders().iter().filter(|order| order.starts_with("stop")).count();
    assert_eq!(stops, 1, "one is stopped, once: {:?}", agent.orders());
    (if alive[0] { first } else { second }).to_owned()
}

#[tokio::test(start_paused = true)]
async fn of_two_guests_that_fence_each_other_at_the_same_instant_exactly_one_survives() {
    let kinds = [Power::Off, Power::Reboot];
    for round in 0..200_usize {
        let powers = [kinds[round / 2 % 2], kinds[round / 4 % 2]];
        let stop_ms = [0, 0, 15, 300][round / 8 % 4];
        let (first, second) = if round % 2 == 0 { ("web1", "web2") } else { ("web2", "web1") };
        duel(first, second, powers, stop_ms).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_one_that_was_heard_first_survives() {
    for (first, second) in [("web1", "web2"), ("web2", "web1")] {
        let agent = Agent::with_domains(vec![
            Entry { stop_ms: 300, ..domain("web1", "web") },
            Entry { stop_ms: 300, ..domain("web2", "web") },
        ])
        .await;
        let (mut quick, mut late) = (agent.guest(first).await, agent.guest(second).await);

        quick.sends(&off(second));
        settle().await;
        let verdict = late.asks_off(first).await;

        assert_eq!(verdict.ruling, CONDEMNED);
        assert_eq!(agent.orders(), [format!("stop {second}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_lets_the_other_node_win() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let (mut patient, mut preferred) = (agent.guest("web1").await, agent.guest("web2").await);
    let delayed = Request { delay: Duration::from_secs(2), ..off("web2") };

    patient.sends(&delayed);
    pass(Duration::from_secs(1)).await;
    let verdict = preferred.asks_off("web1").await;

    assert_eq!(verdict.ruling, Ruling::Done);
    assert_eq!(patient.hears_of(&delayed).await.verdict.ruling, CONDEMNED);
    assert!(agent.runs("web2") && !agent.runs("web1"));
}

#[tokio::test(start_paused = true)]
async fn what_a_condemned_guest_still_had_in_its_socket_is_refused() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let (mut killer, mut victim) = (agent.guest("web1").await, agent.guest("web2").await);
    // Its budget is used up, so that its last words are read only after its death.
    for _ in 0..40 {
        victim.asks_status("web1").await;
    }
    let last_words = [off("web1"), power(Power::Reboot, "web1"), off("web2")];
    last_words.iter().for_each(|request| victim.sends(request));

    let verdict = killer.asks_off("web2").await;
    assert!(victim.hears_all().await.is_empty(), "nothing of it was read yet");

    assert_eq!(verdict.ruling, Ruling::Done);
    for request in &last_words {
        assert_eq!(victim.hears_of(request).await.verdict.ruling, CONDEMNED);
    }
    assert!(agent.runs("web1"));
    assert_eq!(agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_condemned_guest_may_still_ask_what_changes_nothing() {
    let agent =
        Agent::with_domains(vec![domain("web1", "web"), Entry { stop_ms: 1_000, ..domain("web2", "web") }])
            .await;
    let (mut killer, mut victim) = (agent.guest("web1").await, agent.guest("web2").await);
    killer.sends(&off("web2"));
    settle().await;

    assert_eq!(victim.asks_status("web1").await.ruling, Ruling::Done);
    assert_eq!(victim.asks_on("web1").await.ruling, CONDEMNED);
}
