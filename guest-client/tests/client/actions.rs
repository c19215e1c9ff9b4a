//! Each action, its exit code and its words.

use std::time::Duration;

use fence_vmchannel_protocol::{
    Ask, Body, Evidence, GuestIdentity, Hello, Item, Power, PowerState, Reason, Ruling, Target, Verdict,
};

use crate::host::{Ended, Host, asked, asked_for, client, done, off_with_evidence};

const UUID: &str = "6f1c1f5e-2f0a-4a83-9c3c-5e3c8d1b7a01";

fn state(state: PowerState) -> Verdict {
    Verdict { state: Some(state), ..done() }
}

#[test]
fn off_succeeds_with_evidence() {
    let (ended, request) = asked(&["-o", "off", "-n", "web2"], off_with_evidence());

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.out, "web2 is off (process-gone, 12 ms)\n");
    assert_eq!(ended.err, "");
    assert_eq!(request.ask, Ask::Power(Power::Off, "web2".parse().unwrap()));
}

#[test]
fn off_without_evidence_is_not_believed() {
    let (ended, _) = asked(&["-o", "off", "-n", "web2"], state(PowerState::Off));

    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("the host did not say how it knows"), "{ended:?}");
}

#[test]
fn off_needs_the_state_off() {
    for state in [None, Some(PowerState::On)] {
        let (ended, _) = asked(&["-o", "off", "-n", "web2"], Verdict { state, ..off_with_evidence() });

        assert_eq!(ended.code, 1, "{ended:?}");
    }
}

#[test]
fn an_answer_about_another_machine_is_not_believed() {
    let other = "00000000-0000-4000-8000-000000000001".parse().ok();
    let (ended, request) = asked(&["-o", "off", "-n", UUID], Verdict { uuid: other, ..off_with_evidence() });

    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(matches!(request.ask, Ask::Power(Power::Off, Target::Uuid(_))));
}

#[test]
fn reboot_is_the_default_and_succeeds_with_evidence() {
    let verdict = Verdict { state: Some(PowerState::On), ..off_with_evidence() };
    let (ended, request) = asked(&["-n", "web2"], verdict);

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(request.ask, Ask::Power(Power::Reboot, "web2".parse().unwrap()));
}

#[test]
fn reboot_without_evidence_is_not_believed() {
    let (ended, _) = asked(&["-o", "reboot", "-n", "web2"], state(PowerState::On));

    assert_eq!(ended.code, 1, "{ended:?}");
}

#[test]
fn a_reboot_whose_start_failed_is_a_success_with_a_warning() {
    let detail = Some("it is off, but was not started: no space left".to_owned());
    let (ended, _) = asked(&["-o", "reboot", "-n", "web2"], Verdict { detail, ..off_with_evidence() });

    assert_eq!(ended.code, 0);
    assert!(ended.err.contains("warning: web2: it is off, but was not started: no space left"), "{ended:?}");
}

#[test]
fn on_succeeds_only_when_the_host_says_on() {
    let (ended, _) = asked(&["-o", "on", "-n", "web2"], state(PowerState::On));
    assert_eq!(ended.code, 0, "{ended:?}");

    let (ended, _) = asked(&["-o", "on", "-n", "web2"], done());
    assert_eq!(ended.code, 1, "{ended:?}");
}

#[test]
fn status_tells_on_by_0_off_by_2_and_anything_else_by_1() {
    let verdicts = [
        (state(PowerState::On), 0),
        (state(PowerState::Off), 2),
        (done(), 1),
        (Verdict { state: Some(PowerState::Off), ..Verdict::failed(Reason::UnknownState, "") }, 1),
        (Verdict { state: Some(PowerState::Off), ..Verdict::refused(Reason::NotPermitted) }, 1),
    ];
    for (verdict, code) in verdicts {
        let (ended, _) = asked(&["-o", "status", "-n", "web2"], verdict);
        assert_eq!(ended.code, code, "{ended:?}");
    }
}

/// The client's end when the host is well and then says this of whom it may fence.
fn monitored(list: Vec<Body>) -> (Ended, Vec<Ask>) {
    let host = Host::on_a_socket(move |socket| {
        let mut line = socket.accept();
        let mut asked = Vec::new();
        for body in [vec![Body::Verdict(done())], list].concat() {
            let request = line.hear();
            line.reply(request.id, body);
            asked.push(request.ask);
        }
        line.wait_for_the_end();
        asked
    });
    let ended = client(&["-o", "monitor", "--device", &host.device]);
    (ended, host.ends())
}

fn one_item() -> Body {
    Body::Items(vec![Item { name: "web2".parse().unwrap(), uuid: UUID.parse().unwrap(), state: None }], false)
}

#[test]
fn monitor_is_silent_when_all_is_well() {
    let (ended, asked) = monitored(vec![one_item()]);

    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "", ""));
    assert_eq!(asked, [Ask::Monitor, Ask::List], "in one conversation");
}

#[test]
fn monitor_fails_where_every_request_would_be_refused() {
    for reason in [Reason::BadSignature, Reason::NotPermitted] {
        let (ended, _) = monitored(vec![Body::Verdict(Verdict::refused(reason))]);

        assert_eq!((ended.code, ended.out.as_str()), (1, ""));
        assert!(ended.err.contains("able to act, but does not tell whom"), "{ended:?}");
        assert!(ended.err.contains(&format!("list was refused: {reason}")), "{ended:?}");
    }
}

#[test]
fn monitor_fails_where_this_guest_may_fence_nobody() {
    let (ended, _) = monitored(vec![Body::Items(Vec::new(), false)]);

    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(ended.err.contains("may fence nobody"), "{ended:?}");
}

#[test]
fn monitor_asks_again_while_the_host_makes_another_list() {
    let (ended, asked) = monitored(vec![Body::Verdict(Verdict::refused(Reason::Busy)), one_item()]);

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(asked, [Ask::Monitor, Ask::List, Ask::List]);
}

#[test]
fn monitor_asks_again_while_the_host_cannot_make_a_list_yet() {
    let not_yet = Verdict::failed(Reason::Busy, "the agent does not know all domains of its host yet");

    let (ended, asked) = monitored(vec![Body::Verdict(not_yet), one_item()]);

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(asked, [Ask::Monitor, Ask::List, Ask::List]);
}

#[test]
fn monitor_fails_at_once_where_the_host_cannot_act() {
    let (ended, request) =
        asked(&["-o", "monitor"], Verdict::failed(Reason::UnknownState, "libvirt is away"));

    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("libvirt is away"), "{ended:?}");
    assert_eq!(request.ask, Ask::Monitor);
}

#[test]
fn list_and_list_status_print_one_line_per_target() {
    let item = |name: &str, n: u128, state| Item {
        name: name.parse().unwrap(),
        uuid: uuid::Uuid::from_u128(n),
        state,
    };
    let items = vec![
        item("web1", 1, Some(PowerState::On)),
        item("web2", 2, Some(PowerState::Off)),
        item("x", 3, None),
    ];
    let uuid = |n: u128| uuid::Uuid::from_u128(n).to_string();

    let (list, request) = asked_for(&["-o", "list"], Body::Items(items.clone(), false));
    let (list_status, _) = asked_for(&["-o", "list-status"], Body::Items(items, false));

    assert_eq!(request.ask, Ask::List);
    assert_eq!(list.out, format!("web1,{}\nweb2,{}\nx,{}\n", uuid(1), uuid(2), uuid(3)));
    assert_eq!(
        list_status.out,
        format!("web1,{},on\nweb2,{},off\nx,{},unknown\n", uuid(1), uuid(2), uuid(3))
    );
    assert_eq!((list.code, list_status.code), (0, 0));
}

#[test]
fn whoami_and_hello_introduce() {
    let guest = GuestIdentity {
        name: "web1".parse().unwrap(),
        uuid: UUID.parse().unwrap(),
        cluster: Some("web".into()),
    };
    let hello = Hello {
        server: "fence-vmchanneld 0.1.0".into(),
        protocol: 2,
        nonce: "00".repeat(16),
        guest: guest.clone(),
        ops: vec!["off".into()],
        line_bytes: 4096,
    };

    let (whoami, _) = asked_for(&["--action", "whoami"], Body::Whoami(guest));
    let (hello, _) = asked_for(&["--action", "hello"], Body::Hello(hello));

    assert_eq!(whoami.out, format!("this guest is web1 {UUID} of cluster web\n"));
    assert!(hello.out.starts_with("fence-vmchanneld 0.1.0, protocol 2\n"), "{hello:?}");
    assert_eq!((whoami.code, hello.code), (0, 0));
}

#[test]
fn an_answer_to_another_question_is_a_failure() {
    let (ended, _) = asked_for(&["-o", "off", "-n", "web2"], Body::Items(Vec::new(), false));
    assert_eq!(ended.code, 1, "{ended:?}");

    let (ended, _) = asked(&["-o", "list"], done());
    assert_eq!(ended.code, 1, "{ended:?}");
}

#[test]
fn every_refusal_and_failure_ends_with_1_its_reason_and_advice() {
    for &reason in Reason::ALL {
        for ruling in [Ruling::Refused(reason), Ruling::Failed(reason)] {
            let verdict = Verdict { ruling, ..off_with_evidence() };
            let (ended, _) = asked(&["-o", "off", "-n", "web2", "-t", "3"], verdict);

            assert_eq!(ended.code, 1, "{ended:?}");
            assert!(ended.err.contains(reason.word()), "{ended:?}");
        }
    }
}

#[test]
fn not_permitted_says_whom_to_ask() {
    let (ended, _) = asked(&["-o", "off", "-n", "db1"], Verdict::refused(Reason::NotPermitted));

    assert!(ended.err.contains("off db1 was refused: not-permitted"), "{ended:?}");
    assert!(ended.err.contains("fence-vmchanneld explain THIS-VM off db1"), "{ended:?}");
    assert_eq!(ended.err.lines().count(), 2, "what and why, then what to do: {ended:?}");
}

#[test]
fn a_simulated_answer_is_marked() {
    let verdict = Verdict { simulated: true, ..off_with_evidence() };
    let (ended, _) = asked(&["-o", "off", "-n", "web2"], verdict);

    assert_eq!(ended.code, 0);
    assert!(ended.err.contains("simulated"), "{ended:?}");
}

#[test]
fn json_tells_the_verdict_on_one_line() {
    let (ended, _) = asked(&["-o", "off", "-n", "web2", "--json"], off_with_evidence());
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();

    assert_eq!(ended.out.lines().count(), 1);
    let expected = serde_json::json!({
        "action": "off", "target": "web2", "success": true, "exit": 0, "verdict": "done", "state": "off",
        "evidence": "process-gone", "uuid": null, "took_ms": 12, "reason": null, "detail": null, "simulated": false,
        "host_status": null, "lines": ["web2 is off (process-gone, 12 ms)"], "messages": [],
    });
    assert_eq!(json, expected);
}

#[test]
fn json_tells_a_failure_too() {
    let verdict =
        Verdict { evidence: Some(Evidence::ProcessGone), ..Verdict::failed(Reason::CannotKill, "pid 4711") };
    let (ended, _) = asked(&["-o", "off", "-n", "web2", "--json"], verdict);
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();

    assert_eq!(ended.code, 1);
    assert_eq!(json["success"], false);
    assert_eq!(json["reason"], "cannot-kill");
    assert_eq!(json["detail"], "pid 4711");
}

#[test]
fn a_delay_is_the_host_s_to_wait_and_only_for_off_and_reboot() {
    let arguments = ["-n", "web2", "-w", "3", "-t", "30"];
    let (_, off) = asked(&[&arguments[..], &["-o", "off"]].concat(), off_with_evidence());
    let (_, status) = asked(&[&arguments[..], &["-o", "status"]].concat(), state(PowerState::On));

    assert_eq!(off.delay, Duration::from_secs(3));
    assert_eq!(status.delay, Duration::ZERO);
    let host_time = Duration::from_secs(24)..=Duration::from_secs(25);
    assert!(host_time.contains(&off.timeout), "the host ends 5 s before us: {:?}", off.timeout);
}

#[test]
fn null_does_nothing_and_succeeds() {
    let ended = client(&["-o", "null"]);

    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "", ""));
}
