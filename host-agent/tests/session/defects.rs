//! What fence_virtd gets wrong, as whole conversations; each would fail on its behaviour (`docs/incumbent.md`).

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::{Body, Power, PowerState, Reason, Reply, Request, Ruling, encode_line};

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::pass;
use crate::guest::{off, power};

const NOT_PERMITTED: Ruling = Ruling::Refused(Reason::NotPermitted);

fn slow(name: &str, stop_ms: u64) -> Entry {
    Entry { stop_ms, ..domain(name, "web") }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_or_empty_name_has_no_state_and_never_succeeds() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let mut guest = agent.guest("web1").await;

    for name in ["nope", "web", "web22", "WEB2", "WEB2 ", "../web2"] {
        let status = guest.asks_status(name).await;
        assert_eq!((status.ruling, status.state), (NOT_PERMITTED, None), "{name:?}");
        let off = guest.asks_off(name).await;
        assert_eq!((off.ruling, off.state, off.evidence), (NOT_PERMITTED, None, None), "{name:?}");
    }
    for op in ["status", "off"] {
        let empty = serde_json::json!({ "id": "0".repeat(31) + "1", "op": op, "target": "" });
        guest.says(&encode_line(&empty).unwrap());
        let Body::Verdict(verdict) = guest.hears().await.body else { panic!("a verdict was asked for") };
        assert_eq!((verdict.ruling, verdict.state), (Ruling::Refused(Reason::BadRequest), None));
    }
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_name_of_any_length_is_told_listed_and_fenced_as_itself() {
    // fence_virtd has room for 63 bytes.
    let names = [("a", 63), ("b", 64), ("c", 65), ("d", 128), ("e", 1024)]
        .map(|(letter, length)| letter.repeat(length));
    let mut domains: Vec<_> = names.iter().map(|name| domain(name, "web")).collect();
    domains.push(domain("web1", "web"));
    let agent = Agent::with_domains(domains).await;
    let mut guest = agent.guest("web1").await;

    let listed = guest.asks_list().await;
    for name in &names {
        let item = listed.iter().find(|item| item.name.as_str() == name).unwrap();
        assert_eq!((item.uuid, item.state), (uuid_of(name), Some(PowerState::On)), "its own UUID and state");
        assert_eq!(guest.asks_status(name).await.state, Some(PowerState::On));
        assert_eq!(guest.asks_off(name).await.state, Some(PowerState::Off));
        assert_eq!(guest.asks_status(name).await.state, Some(PowerState::Off));
    }

    assert_eq!(listed.len(), names.len() + 1);
    assert_eq!(agent.orders(), names.map(|name| format!("stop {name}")));
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_comes_late_carries_the_id_of_its_own_request() {
    let agent =
        Agent::with_domains(vec![domain("web1", "web"), slow("web2", 3_000), domain("web3", "web")]).await;
    let mut guest = agent.guest("web1").await;
    let late = off("web2");

    guest.sends(&late); // the client that asked this is killed
    pass(Duration::from_millis(500)).await;
    let next = power(Power::On, "web3");
    guest.sends(&next);
    pass(Duration::from_secs(4)).await;
    let replies = guest.hears_all().await;

    let verdicts: Vec<&Reply> = replies.iter().filter(|reply| reply.is_final()).collect();
    assert_eq!(verdicts.iter().map(|reply| reply.id).collect::<Vec<_>>(), [next.id, late.id]);
    let states = verdicts.iter().map(|reply| match &reply.body {
        Body::Verdict(verdict) => verdict.state,
        Body::Progress(..) | Body::Items(..) | Body::Hello(_) | Body::Whoami(_) | Body::HostStatus(_) => None,
    });
    assert_eq!(states.collect::<Vec<_>>(), [Some(PowerState::On), Some(PowerState::Off)]);
}

#[tokio::test(start_paused = true)]
async fn the_same_id_from_two_guests_is_two_requests_with_a_verdict_each() {
    let names = ["web1", "web2", "web3", "web4"].map(|name| domain(name, "web"));
    let agent = Agent::with_domains(names.into()).await;
    let (mut one, mut two) = (agent.guest("web1").await, agent.guest("web2").await);
    let first = off("web3");
    let second = Request { id: first.id, ..off("web4") };

    let verdicts = [one.asks(&first).await, two.asks(&second).await];

    assert_eq!(verdicts.map(|verdict| verdict.state), [Some(PowerState::Off); 2]);
    assert_eq!(agent.orders(), ["stop web3", "stop web4"]);
}

#[tokio::test(start_paused = true)]
async fn what_failed_may_be_asked_for_again_at_once_and_is_tried_again() {
    let agent =
        Agent::with_domains(vec![domain("web1", "web"), Entry { immortal: true, ..domain("web2", "web") }])
            .await;
    let mut guest = agent.guest("web1").await;
    let hasty = || Request { timeout: Duration::from_secs(6), ..off("web2") };

    let failed = guest.asks(&hasty()).await;
    pass(Duration::from_secs(45)).await;
    let again = guest.asks(&hasty()).await;

    assert!(matches!(failed.ruling, Ruling::Failed(_)) && matches!(again.ruling, Ruling::Failed(_)));
    assert_eq!(agent.orders(), ["stop web2", "stop web2"], "nobody is met with silence");
}

#[tokio::test(start_paused = true)]
async fn without_a_rule_or_a_cluster_guests_may_do_nothing_to_each_other() {
    let agent = Agent::with_domains(vec![domain("lone1", ""), domain("lone2", "")]).await;
    let mut guest = agent.guest("lone1").await;

    assert_eq!(guest.asks_off("lone2").await.ruling, NOT_PERMITTED);
    assert_eq!(guest.asks_reboot("lone2").await.ruling, NOT_PERMITTED);
    assert_eq!(guest.asks_status("lone2").await.ruling, NOT_PERMITTED);
    assert!(guest.asks_list().await.is_empty() && agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rule_with_uuids_holds_for_a_target_asked_by_its_name_and_the_other_way_round() {
    let agent =
        Agent::with_domains(vec![domain("lone1", ""), domain("lone2", ""), domain("lone3", "")]).await;
    let (by_uuid, by_name) = (uuid_of("lone2").to_string(), "lone3");
    agent.has_rules(&format!(
        "[[allow]]\nfrom = [\"{}\"]\nto = [\"{by_uuid}\", \"{by_name}\"]\n",
        uuid_of("lone1")
    ));
    let mut guest = agent.guest("lone1").await;

    for target in ["lone2", &by_uuid, "lone3", &uuid_of("lone3").to_string()] {
        assert_eq!(guest.asks_status(target).await.state, Some(PowerState::On), "{target}");
    }
    assert_eq!(guest.asks_status("lone1").await.ruling, NOT_PERMITTED);
}
