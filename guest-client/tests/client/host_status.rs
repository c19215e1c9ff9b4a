//! What the host tells of itself, in words and for programs.

use fence_vmchannel_protocol::{
    AgentHealth, Ask, Attribute, Body, HostStatus, LibvirtHealth, Reason, Verdict,
};

use crate::host::{asked, asked_for};

pub(crate) fn status() -> HostStatus {
    let attribute = |name: &str, value: Option<&str>, age_s| Attribute {
        name: name.parse().unwrap(),
        value: value.map(|value| value.parse().unwrap()),
        age_s,
    };
    HostStatus {
        agent: AgentHealth::Ok,
        libvirt: LibvirtHealth::Away,
        host: Some("rack3".parse().unwrap()),
        maintenance: Some(true),
        load_percent: Some([42, 1205, 3]),
        processors: Some(8),
        uptime_s: Some(93_784),
        attributes: vec![
            attribute("pingd", Some("very poor"), Some(4)),
            attribute("storage", None, Some(95)),
            attribute("disk", None, None),
        ],
        simulated: false,
    }
}

#[test]
fn the_hosts_status_is_printed_one_thing_a_line_and_what_is_unknown_looks_like_no_value() {
    let (ended, request) = asked_for(&["-o", "host-status"], Body::HostStatus(Box::new(status())));

    assert_eq!(request.ask, Ask::HostStatus);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let expected = "agent: ok\nlibvirt: away\nhost: rack3\nmaintenance: on\nload: 0.42 12.05 0.03\nprocessors: 8\n\
                    uptime: 1 d 2 h\nattribute pingd: very poor\nattribute storage unknown (looked at 1 min ago)\n\
                    attribute disk unknown\n";
    assert_eq!(ended.out, expected);
}

#[test]
fn the_hosts_status_as_json_has_the_keys_of_the_protocol() {
    let simulated = HostStatus { simulated: true, ..status() };
    let (ended, _) = asked_for(&["-o", "host-status", "--json"], Body::HostStatus(Box::new(simulated)));

    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();

    assert_eq!((&json["success"], &json["simulated"]), (&true.into(), &true.into()));
    let status = &json["host_status"];
    assert_eq!((&status["maintenance"], &status["load_percent"][1]), (&true.into(), &1205.into()));
    assert_eq!(status["attributes"][0]["value"], "very poor");
    assert_eq!(status["attributes"][1].get("value"), None);
}

#[test]
fn a_guest_that_may_not_know_of_its_host_is_told_what_to_ask_for() {
    let (ended, _) = asked(&["-o", "host-status"], Verdict::refused(Reason::NotPermitted));

    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(ended.err.contains("explain THIS-VM host-status THIS-VM"), "{}", ended.err);
}

#[test]
fn a_verdict_is_no_host_status() {
    let (ended, _) = asked(&["-o", "host-status"], crate::host::done());

    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
}
