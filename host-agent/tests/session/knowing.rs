//! What a guest may know.

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::{Ask, Body, Power, PowerState, Reason, Request, Ruling, Target, encode_line};

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::settle;
use crate::guest::{Guest, off, request};

#[tokio::test(start_paused = true)]
async fn a_guest_cannot_fence_outside_its_cluster() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"]), ("db", ["db1", "db2"])]).await;

    let verdict = agent.guest("web1").await.asks_off("db1").await;

    assert_eq!(verdict.ruling, Ruling::Refused(Reason::NotPermitted));
    assert!(agent.orders().is_empty(), "nothing may reach libvirt");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_and_an_unknown_target_get_the_same_bytes() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"]), ("db", ["db1", "db2"])]).await;
    let mut guest = agent.guest("web1").await;
    let foreign_uuid = uuid_of("db1").to_string();
    let asks: [fn(Target) -> Ask; 4] = [
        Ask::Status,
        |target| Ask::Power(Power::Off, target),
        |target| Ask::Power(Power::On, target),
        |target| Ask::Power(Power::Reboot, target),
    ];

    for ask in asks {
        let mut answers = Vec::new();
        let template = request(ask("nobody".parse().unwrap()));
        for target in ["nobody", "db1", foreign_uuid.as_str(), "99999999-9999-4999-8999-999999999999"] {
            let asked = Request { ask: ask(target.parse().unwrap()), ..template.clone() };
            guest.says(&encode_line(&asked).unwrap());
            answers.push(guest.hears_line().await);
        }

        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_shows_only_what_is_permitted_and_agrees_with_status() {
    let agent = Agent::with_domains(vec![
        domain("web1", "web"),
        Entry { running: false, ..domain("web2", "web") },
        Entry { stop_ms: 60_000, ..domain("web3", "web") },
        domain("db1", "db"),
        domain("plain", ""),
    ])
    .await;
    let mut guest = agent.guest("web1").await;

    guest.sends(&off("web3")); // under way, not off
    let items = guest.asks_list().await;

    let seen: Vec<_> = items.iter().map(|item| (item.name.as_str(), item.state)).collect();
    let (on, off) = (Some(PowerState::On), Some(PowerState::Off));
    assert_eq!(seen, [("web1", on), ("web2", off), ("web3", on)]);
    for item in items {
        assert_eq!(guest.asks_status(item.name.as_str()).await.state, item.state, "{item:?}");
        assert_eq!(guest.asks_status(&item.uuid.to_string()).await.uuid, Some(item.uuid));
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_without_a_cluster_sees_nothing_not_even_itself() {
    let agent = Agent::with_domains(vec![domain("plain", ""), domain("other", "")]).await;
    let mut guest = agent.guest("plain").await;

    assert_eq!(guest.asks_list().await, []);
    assert_eq!(guest.asks_status("plain").await.ruling, Ruling::Refused(Reason::NotPermitted));
}

#[tokio::test(start_paused = true)]
async fn a_list_of_many_names_comes_in_parts_without_loss() {
    let names: Vec<String> = (0..300).map(|number| format!("web{number:03}")).collect();
    let agent = Agent::with_domains(names.iter().map(|name| domain(name, "web")).collect()).await;

    let items = agent.guest("web007").await.asks_list().await;

    assert_eq!(items.iter().map(|item| item.name.to_string()).collect::<Vec<_>>(), names);
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_label_is_changed_is_told_so_on_the_same_connection() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let mut guest = agent.guest("web2").await;

    agent.host().is_defined(domain("web2", "db"));
    settle().await;

    assert_eq!(guest.asks_whoami().await.cluster.as_deref(), Some("db"));
    assert_eq!(guest.asks_hello().await.guest.cluster.as_deref(), Some("db"));
}

#[tokio::test(start_paused = true)]
async fn hello_and_whoami_tell_a_guest_who_it_is_by_its_socket() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let mut guest = agent.guest("web2").await;

    let (hello, identity) = (guest.asks_hello().await, guest.asks_whoami().await);

    assert_eq!((identity.name.as_str(), identity.uuid), ("web2", uuid_of("web2")));
    assert_eq!(identity.cluster.as_deref(), Some("web"));
    assert_eq!(hello.guest, identity);
    assert_eq!((hello.protocol, hello.nonce.len()), (2, 32));
    assert_ne!(hello.nonce, agent.guest("web2").await.asks_hello().await.nonce, "one for each connection");
}

#[tokio::test(start_paused = true)]
async fn every_op_that_hello_names_is_answered_and_the_others_are_unsupported() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;
    let mut guest = agent.guest("web1").await;
    let all = [
        Ask::Hello,
        Ask::Whoami,
        Ask::Monitor,
        Ask::List,
        Ask::HostStatus,
        Ask::Explain("web2".parse().unwrap()),
        Ask::Status("web2".parse().unwrap()),
        Ask::Power(Power::Off, "web2".parse().unwrap()),
        Ask::Power(Power::On, "web2".parse().unwrap()),
        Ask::Power(Power::Reboot, "web2".parse().unwrap()),
    ];

    let named = guest.asks_hello().await.ops;

    for ask in all {
        let op = ask.op();
        assert_eq!(named.iter().any(|name| name == op), !is_unsupported(&mut guest, ask).await, "{op}");
    }
}

async fn is_unsupported(guest: &mut Guest, ask: Ask) -> bool {
    guest.sends(&request(ask));
    let body = guest.hears().await.body;
    matches!(body, Body::Verdict(verdict) if verdict.ruling == Ruling::Refused(Reason::Unsupported))
}

#[tokio::test(start_paused = true)]
async fn monitor_says_that_the_host_can_act() {
    let agent = Agent::with_clusters([("web", ["web1", "web2"])]).await;

    let verdict = agent.guest("web1").await.asks_monitor().await;

    assert_eq!((verdict.ruling, verdict.state), (Ruling::Done, None));
    assert!(verdict.simulated);
}

#[tokio::test(start_paused = true)]
async fn every_verdict_without_real_machines_behind_it_is_marked() {
    let agent = Agent::with_domains(vec![
        domain("web1", "web"),
        Entry { stop_ms: 60_000, ..domain("web2", "web") },
        domain("web3", "web"),
    ])
    .await;
    let (mut guest, mut condemned) = (agent.guest("web1").await, agent.guest("web2").await);
    guest.sends(&crate::guest::off("web2"));

    let verdicts = [
        ("done", guest.asks_off("web3").await),
        ("status", guest.asks_status("web3").await),
        ("not permitted", guest.asks_off("nobody").await),
        ("busy", guest.asks_reboot("web2").await),
        ("condemned", condemned.asks_off("web1").await),
    ];
    agent.begins_to_stop();
    let stopping = guest.asks_on("web3").await;

    for (what, verdict) in verdicts.into_iter().chain([("stopping", stopping)]) {
        assert!(verdict.simulated, "{what}: {verdict:?}");
    }
}
