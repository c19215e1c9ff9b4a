//! A host whose agent is being stopped: the next one is asked, as long as there is time.

use std::time::Duration;

use fence_vmchannel_protocol::signing::Nonce;
use fence_vmchannel_protocol::{Body, Phase, Reason, Verdict};

use crate::host::{Ended, Host, Socket, client, off_with_evidence};
use crate::signed::{NONCE, hears_signed, key_file, signed_reply};

fn off(device: &str, more: &[&str]) -> Ended {
    client(&[&["-o", "off", "-n", "web2", "--device", device], more].concat())
}

fn stopping() -> Verdict {
    Verdict::failed(Reason::Stopping, "the host's agent is shutting down: ask again")
}

#[test]
fn the_agent_after_one_that_is_stopping_is_asked_by_the_same_id() {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        let first = line.hear();
        line.verdict(&first, stopping());
        drop(line);
        let mut line = Socket::again(&socket.path).accept();
        let second = line.hear();
        line.verdict(&second, off_with_evidence());
        line.wait_for_the_end();
        (first, second)
    });

    let ended = off(&host.device, &[]);

    assert_eq!(ended.code, 0, "{ended:?}");
    let (first, second) = host.ends();
    assert_eq!((first.id, first.ask), (second.id, second.ask));
}

#[test]
fn an_agent_that_stops_behind_a_serial_port_is_asked_again_after_a_while() {
    let host = Host::on_a_terminal(|mut line| {
        let first = line.hear();
        line.verdict(&first, stopping());
        let second = line.hear();
        line.verdict(&second, off_with_evidence());
        (first.id, second.id, line)
    });

    let ended = off(&host.device, &[]);

    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.took >= Duration::from_secs(2), "{ended:?}");
    let (first, second, _line) = host.ends();
    assert_eq!(first, second);
}

#[test]
fn a_host_that_stays_away_after_it_said_that_it_stops_is_a_failure_that_says_so() {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        let request = line.hear();
        line.verdict(&request, stopping());
    });
    let stays = Host::on_a_terminal(|mut line| {
        let request = line.hear();
        line.verdict(&request, stopping());
        line
    });

    for device in [&host.device, &stays.device] {
        let ended = off(device, &["-t", "0.5"]);

        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
        assert!(ended.err.contains("off web2 failed: stopping"), "{ended:?}");
        assert!(ended.took >= Duration::from_millis(500), "{ended:?}");
    }
    host.ends();
    stays.ends();
}

#[test]
fn an_order_that_the_next_agent_took_is_no_longer_one_that_was_not_accepted() {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        let first = line.hear();
        line.verdict(&first, stopping());
        drop(line);
        let mut line = socket.accept();
        let second = line.hear();
        line.reply(second.id, Body::Progress(Phase::Stopping, Duration::from_millis(1)));
        line.wait_for_the_end();
    });

    let ended = off(&host.device, &["-t", "1"]);

    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("no answer from the host within 1 s"), "{ended:?}");
    host.ends();
}

#[test]
fn a_signed_request_that_an_agent_took_while_it_stops_is_signed_anew_for_the_next_one() {
    let (_directory, file) = key_file(0o600);
    let host = Host::on_a_terminal(|mut line| {
        let first = hears_signed(&mut line, NONCE);
        line.say(&signed_reply(&first, NONCE, stopping()));
        let taken = hears_signed(&mut line, NONCE);
        line.say(&signed_reply(&taken, NONCE, Verdict::refused(Reason::BadSignature)));
        let other = Nonce([0x33; 16]);
        let last = hears_signed(&mut line, other);
        line.say(&signed_reply(&last, other, off_with_evidence()));
        (first.id, taken.id, last.id, line)
    });

    let ended = off(&host.device, &["--key-file", &file]);

    assert_eq!(ended.code, 0, "{ended:?}");
    let (first, taken, last, _line) = host.ends();
    assert_eq!((first, first), (taken, last));
}
