//! What the administrator's rules add to the clusters and take from them.

use std::time::Duration;

use fence_vmchannel_protocol::{PowerState, Reason, Request, Ruling};

use crate::agent::Agent;
use crate::clock::pass;
use crate::guest::off;

const NOT_PERMITTED: Ruling = Ruling::Refused(Reason::NotPermitted);

async fn agent() -> Agent {
    Agent::with_clusters([("web", ["web1", "web2"]), ("db", ["db1", "db2"])]).await
}

#[tokio::test(start_paused = true)]
async fn a_rule_may_let_a_guest_look_without_letting_it_act() {
    let agent = agent().await;
    agent.has_rules("[[allow]]\nfrom = [\"web1\"]\nto = [\"cluster:db\"]\nactions = [\"status\"]\n");
    let mut guest = agent.guest("web1").await;

    assert_eq!(guest.asks_status("db1").await.state, Some(PowerState::On));
    assert_eq!(guest.asks_off("db1").await.ruling, NOT_PERMITTED);
    assert_eq!(guest.asks_list().await.len(), 2, "its own cluster only: `list` was not allowed");
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_changes_holds_from_the_next_request_on_the_same_connection() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    assert_eq!(guest.asks_status("web2").await.ruling, Ruling::Done);

    agent.has_rules("[[deny]]\nfrom = [\"*\"]\nto = [\"web2\"]\n");

    assert_eq!(guest.asks_status("web2").await.ruling, NOT_PERMITTED);
    assert_eq!(guest.asks_off("web2").await.ruling, NOT_PERMITTED);
    let seen = guest.asks_list().await;
    assert_eq!(seen.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["web1"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_allowed_after_its_delay_is_refused() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    let delayed = Request { delay: Duration::from_secs(3), ..off("web2") };

    guest.sends(&delayed);
    pass(Duration::from_secs(1)).await;
    agent.has_rules("[[deny]]\nfrom = [\"web1\"]\nto = [\"web2\"]\nactions = [\"off\"]\n");

    assert_eq!(guest.hears_of(&delayed).await.verdict.ruling, NOT_PERMITTED);
    assert!(agent.orders().is_empty());
}
