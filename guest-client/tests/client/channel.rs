//! What a channel does to a conversation: noise, stale data, other replies, chunks, hosts that go and come back.

use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{
    Body, Item, Phase, PowerState, Reason, Reply, RequestId, Verdict, encode_line,
};

use crate::host::{Host, Socket, client, done, end, off_with_evidence, start, terminal};

const OFF: [&str; 5] = ["-o", "off", "-n", "web2", "--device"];

fn off(device: &str) -> crate::host::Ended {
    client(&[&OFF[..], &[device]].concat())
}

fn other_id() -> RequestId {
    RequestId::from_random([7; 16]).unwrap()
}

#[test]
fn off_works_over_a_serial_port() {
    let host = Host::on_a_terminal(|mut line| {
        let request = line.hear();
        line.verdict(&request, off_with_evidence());
        line
    });

    let ended = off(&host.device);

    assert_eq!(ended.code, 0, "{ended:?}");
    host.ends();
}

#[test]
fn stale_replies_with_other_ids_are_ignored() {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        let request = line.hear();
        line.reply(other_id(), Body::Verdict(off_with_evidence()));
        line.verdict(&request, Verdict::refused(Reason::Condemned));
        line.wait_for_the_end();
    });

    let ended = off(&host.device);

    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("condemned"), "{ended:?}");
    host.ends();
}

#[test]
fn only_a_stale_reply_is_no_answer() {
    let host = Host::on_a_terminal(|mut line| {
        line.hear();
        line.reply(other_id(), Body::Verdict(off_with_evidence()));
        line
    });

    let ended = client(&[&OFF[..], &[&host.device, "-t", "0.3"]].concat());

    assert_eq!(ended.code, 1, "{ended:?}");
    host.ends();
}

#[test]
fn a_reply_may_come_byte_by_byte_and_after_noise() {
    let host = Host::on_a_terminal(|mut line| {
        let request = line.hear();
        line.say(b"SeaBIOS (version 1.16)\r\n\x1b[2J\xff\xfe login: \nfv2 crc:00000000 {}\n");
        let reply = Reply { id: request.id, body: Body::Verdict(off_with_evidence()) };
        encode_line(&reply).unwrap().chunks(1).for_each(|byte| line.say(byte));
        line
    });

    let ended = off(&host.device);

    assert_eq!(ended.code, 0, "{ended:?}");
    host.ends();
}

#[test]
fn a_list_after_noise_may_lack_its_beginning_and_is_asked_for_once_more() {
    let host = Host::on_a_terminal(|mut line| {
        let item = |number: u128| {
            let name = format!("web{number}").parse().unwrap();
            Item { name, uuid: uuid::Uuid::from_u128(number), state: None }
        };
        let part = |id, number, more| {
            encode_line(&Reply { id, body: Body::Items(vec![item(number)], more) }).unwrap()
        };
        let first = line.hear();
        line.say(&part(first.id, 1, true)[1..]); // a byte was lost
        line.say(&part(first.id, 2, false));
        let second = line.hear();
        line.say(&[part(second.id, 1, true), part(second.id, 2, false)].concat());
        ((first.id, &first.ask) == (second.id, &second.ask), line)
    });

    let ended = client(&["-o", "list", "--device", &host.device]);

    assert_eq!((ended.code, ended.out.lines().count()), (0, 2), "{ended:?}");
    assert!(host.ends().0);
}

#[test]
fn progress_is_no_verdict() {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        let request = line.hear();
        line.reply(request.id, Body::Progress(Phase::Stopping, Duration::from_millis(1)));
        line.wait_for_the_end();
    });

    let ended = client(&[&OFF[..], &[&host.device, "-t", "0.3", "-v"]].concat());

    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("stopping, 1 ms at the host"), "{ended:?}");
    host.ends();
}

#[test]
fn a_garbled_request_is_sent_again_with_the_same_id() {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        let first = line.hear();
        line.reply(RequestId::NONE, Body::Verdict(Verdict::refused(Reason::BadFrame)));
        let second = line.hear();
        line.verdict(&second, off_with_evidence());
        line.wait_for_the_end();
        (first, second)
    });

    let ended = off(&host.device);

    assert_eq!(ended.code, 0, "{ended:?}");
    let (first, second) = host.ends();
    assert_eq!((first.id, first.ask), (second.id, second.ask));
}

#[test]
fn a_host_that_never_understands_is_asked_four_times_in_all() {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        for _ in 0..4 {
            line.hear();
            line.reply(RequestId::NONE, Body::Verdict(Verdict::refused(Reason::BadFrame)));
        }
        line.reply(RequestId::NONE, Body::Verdict(Verdict::refused(Reason::BadFrame)));
        line.wait_for_the_end();
    });

    let ended = client(&[&OFF[..], &[&host.device, "-t", "0.5"]].concat());

    assert_eq!(ended.code, 1, "{ended:?}");
    host.ends();
}

#[test]
fn a_lost_line_is_sent_again_after_two_silent_seconds() {
    let host = Host::on_a_terminal(|mut line| {
        let lost = line.hear();
        let heard = line.hear();
        line.verdict(&heard, off_with_evidence());
        (lost, heard, line)
    });

    let ended = off(&host.device);

    assert_eq!(ended.code, 0, "{ended:?}");
    assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&ended.took), "{ended:?}");
    let (lost, heard, _line) = host.ends();
    assert_eq!((lost.id, lost.ask), (heard.id, heard.ask));
}

#[test]
fn a_restarted_agent_is_asked_again_with_the_same_id() {
    let host = Host::on_a_socket(|socket| {
        let first = socket.accept().hear();
        let path = socket.path.clone();
        drop(socket);
        let mut line = Socket::again(&path).accept();
        let second = line.hear();
        line.verdict(&second, off_with_evidence());
        line.wait_for_the_end();
        (first, second)
    });

    let ended = off(&host.device);

    assert_eq!(ended.code, 0, "{ended:?}");
    let (first, second) = host.ends();
    assert_eq!((first.id, first.ask), (second.id, second.ask));
}

#[test]
fn who_asks_again_tells_the_host_only_what_is_left_of_its_time_and_the_whole_delay() {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        let (first, silence) = (line.hear(), Instant::now());
        let second = line.hear();
        let waited = silence.elapsed();
        drop(line);
        let mut line = socket.accept();
        let third = line.hear();
        line.verdict(&third, off_with_evidence());
        line.wait_for_the_end();
        ([first, second, third], waited)
    });

    let ended = client(&[&OFF[..], &[&host.device, "-t", "15", "-w", "6"]].concat());

    assert_eq!(ended.code, 0, "{ended:?}");
    let ([first, second, third], waited) = host.ends();
    assert!([&second, &third].iter().all(|again| (again.id, &again.ask) == (first.id, &first.ask)));
    let waited = waited - Duration::from_millis(300); // it began to wait a little later or earlier
    assert_eq!(second.delay, first.delay, "the host may have been away, and nobody else have been first");
    assert!(second.timeout + waited.mul_f32(0.9) <= first.timeout, "{first:?} {second:?}");
    assert_eq!(third.delay, first.delay);
    assert!(third.timeout <= second.timeout, "{second:?} {third:?}");
}

#[test]
fn a_list_in_parts_is_put_together_and_begins_anew_with_a_new_connection() {
    let item = |n: u128| fence_vmchannel_protocol::Item {
        name: format!("web{n}").parse().unwrap(),
        uuid: uuid::Uuid::from_u128(n),
        state: None,
    };
    let host = Host::on_a_socket(move |socket| {
        let mut line = socket.accept();
        let request = line.hear();
        line.reply(request.id, Body::Items(vec![item(1), item(9)], true));
        drop(line);
        let mut line = socket.accept();
        let request = line.hear();
        line.reply(request.id, Body::Items(vec![item(1)], true));
        line.reply(request.id, Body::Items(vec![item(2)], false));
        line.wait_for_the_end();
    });

    let ended = client(&["-o", "list", "--device", &host.device]);

    let names: Vec<_> = ended.out.lines().map(|line| line.split_once(',').unwrap().0).collect();
    assert_eq!(names, ["web1", "web2"]);
    host.ends();
}

#[test]
fn two_clients_take_turns_on_one_serial_port() {
    let (open, opened) = std::sync::mpsc::channel();
    let (heard, asked) = std::sync::mpsc::channel();
    let host = Host::on_a_terminal(move |mut line| {
        let first = line.hear();
        heard.send(()).unwrap();
        opened.recv().unwrap();
        line.verdict(&first, off_with_evidence());
        let second = line.hear();
        line.verdict(&second, Verdict { state: Some(PowerState::Off), ..done() });
        line
    });

    let first = start(&[&OFF[..], &[&host.device]].concat());
    asked.recv().unwrap();
    let mut second = start(&["-v", "-o", "status", "-n", "web2", "--device", &host.device]);
    let mut waits = [0; 256];
    let count = std::io::Read::read(second.stderr.as_mut().unwrap(), &mut waits).unwrap();
    open.send(()).unwrap();

    assert!(String::from_utf8_lossy(&waits[..count]).contains("is in use, waiting for it"));
    assert_eq!(end(first, Instant::now()).code, 0);
    assert_eq!(end(second, Instant::now()).code, 2);
    host.ends();
}

#[test]
fn what_came_before_the_port_was_opened_is_no_answer() {
    let (mut master, slave, device) = terminal();
    let stale = encode_line(&Reply { id: other_id(), body: Body::Verdict(off_with_evidence()) }).unwrap();
    std::io::Write::write_all(&mut master, &stale).unwrap();

    let ended = client(&[&OFF[..], &[&device, "-t", "0.3"]].concat());

    assert_eq!(ended.code, 1, "{ended:?}");
    drop(slave);
}
