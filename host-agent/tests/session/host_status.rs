//! What guests are told of their host, and what it costs.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{
    AgentHealth, Ask, Body, HostStatus, LibvirtHealth, Reason, Reply, Ruling, Verdict, encode_line,
};

use crate::agent::{Agent, domain, uuid_of};
use crate::guest::{Guest, reply_in, request};
use crate::process::{Place, Program};

async fn asks(guest: &mut Guest) -> Body {
    guest.sends(&request(Ask::HostStatus));
    guest.hears().await.body
}

fn is_refused(body: &Body) -> bool {
    matches!(body, Body::Verdict(Verdict { ruling: Ruling::Refused(Reason::NotPermitted), .. }))
}

#[tokio::test(start_paused = true)]
async fn a_guest_of_a_cluster_may_know_of_its_host_and_another_one_may_not() {
    let agent = Agent::with_domains(vec![domain("web1", "web"), domain("plain", "")]).await;

    let told = asks(&mut agent.guest("web1").await).await;
    let refused = asks(&mut agent.guest("plain").await).await;

    let Body::HostStatus(status) = told else { panic!("{told:?}") };
    assert_eq!((status.agent, status.libvirt), (AgentHealth::Ok, LibvirtHealth::Connected));
    assert!(status.simulated);
    assert!(is_refused(&refused), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn rules_give_and_take_the_hosts_status_like_any_other_action() {
    let agent =
        Agent::with_domains(vec![domain("web1", "web"), domain("web2", "web"), domain("plain", "")]).await;
    agent.has_rules(
        "[[allow]]\nfrom = ['plain']\nto = ['plain']\nactions = ['host-status']\n\
         [[deny]]\nfrom = ['web2']\nto = ['*']\nactions = ['host-status']\n",
    );

    let (web1, web2) =
        (asks(&mut agent.guest("web1").await).await, asks(&mut agent.guest("web2").await).await);
    let plain = asks(&mut agent.guest("plain").await).await;

    assert!(matches!((&web1, &plain), (Body::HostStatus(_), Body::HostStatus(_))), "{web1:?} {plain:?}");
    assert!(is_refused(&web2), "{web2:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stops_says_so() {
    let agent = Agent::with_clusters([("web", ["web1"])]).await;
    let mut guest = agent.guest("web1").await;
    agent.begins_to_stop();

    let told = asks(&mut guest).await;

    assert!(matches!(&told, Body::HostStatus(status) if status.agent == AgentHealth::Stopping), "{told:?}");
}

/// An agent whose attribute `runs` is how often its source was run.
fn counting(every_seconds: u32) -> Program {
    let place = Place::with_domains(&[("web1", "web")]);
    let (source, count) = (place.path("source"), place.path("count"));
    let text = format!("#!/bin/sh\necho >> {0}\nwc -l < {0}\n", count.display());
    fs::write(&source, text).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o755)).unwrap();
    place.add_settings(&format!(
        "[host-status]\nhost-name = 'rack3'\n[[host-status.attribute]]\nname = 'runs'\ncommand = [{source:?}]\n\
         every-seconds = {every_seconds}\n"
    ));
    place.start()
}

fn told(port: &UnixStream) -> HostStatus {
    (&*port).write_all(&encode_line(&request(Ask::HostStatus)).unwrap()).unwrap();
    let mut line = Vec::new();
    BufReader::new(port).read_until(b'\n', &mut line).unwrap();
    match reply_in(&line) {
        Reply { body: Body::HostStatus(status), .. } => *status,
        other => panic!("{other:?}"),
    }
}

fn told_until(port: &UnixStream, what: impl Fn(&HostStatus) -> bool) -> HostStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = told(port);
        if what(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:?}");
    }
}

#[test]
fn a_guest_that_asks_over_and_over_runs_nothing() {
    let agent = counting(3600);
    let port = agent.guest("web1");

    let first = told_until(&port, |status| status.attributes[0].value.is_some());
    for _ in 0..60 {
        told(&port);
    }
    let last = told(&port);

    let runs = |status: &HostStatus| status.attributes[0].value.as_ref().unwrap().to_string();
    assert_eq!((runs(&first), runs(&last)), ("1".to_owned(), "1".to_owned()));
    assert_eq!(last.host.unwrap().as_str(), "rack3");
    assert_eq!(agent.stops(), Some(0));
}

#[test]
fn a_source_is_asked_again_at_its_interval() {
    let agent = counting(1);
    let port = agent.guest("web1");

    let status = told_until(&port, |status| {
        status.attributes[0]
            .value
            .as_ref()
            .is_some_and(|runs| runs.as_str().parse::<u32>().is_ok_and(|runs| runs >= 3))
    });

    assert!(status.attributes[0].age_s.is_some(), "{status:?}");
}

#[test]
fn maintenance_is_told_from_when_it_is_announced_until_it_is_over() {
    let agent = counting(3600);
    let port = agent.guest("web1");
    let said = |what: &str| {
        let output = agent.asks(&["maintenance", what]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };

    let before = (said("show"), told(&port).maintenance);
    let on = said("on");
    told_until(&port, |status| status.maintenance == Some(true));
    let off = said("off");
    told_until(&port, |status| status.maintenance == Some(false));

    assert_eq!(before, ((Some(0), "maintenance is off\n".to_owned()), Some(false)));
    assert_eq!((on.1.as_str(), off.1.as_str()), ("maintenance is on\n", "maintenance is off\n"));
    assert_eq!(said("perhaps").0, Some(2));
}

#[test]
fn explain_tells_whether_a_guest_may_know_of_its_host() {
    let domain = |name: &str| format!("[[domain]]\nname = {name:?}\nuuid = \"{}\"\n", uuid_of(name));
    let text = format!("{}cluster = \"web\"\n{}", domain("web1"), domain("plain"));
    let agent = Place::with_text(&text).start();
    drop(agent.guest("web1"));

    let (web1, plain) = (
        agent.asks(&["explain", "web1", "host-status", "web1"]),
        agent.asks(&["explain", "plain", "host-status", "plain"]),
    );

    assert_eq!((web1.status.code(), plain.status.code()), (Some(0), Some(1)));
}
