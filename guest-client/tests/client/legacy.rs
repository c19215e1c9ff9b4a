//! The legacy dialects against a server of the test's own, which lies, is late, or has no key.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use fence_vmchannel_protocol::legacy::{Code, HostRecord, Op, SERIAL_BYTES, SerialReply, SerialRequest};

use crate::host::{Ended, client};

/// What a server says to each question.
type Script = fn(Op, usize) -> Vec<u8>;

/// A server of the serial dialect, as QEMU's forwarded address leads to one; it first says what was left from before.
fn server(stale: &'static [u8], script: Script) -> (u16, JoinHandle<Vec<Op>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
        stream.write_all(stale).unwrap();
        let mut asked = Vec::new();
        let mut request = [0; SERIAL_BYTES];
        while stream.read_exact(&mut request).is_ok() {
            let op = SerialRequest::decode(&request).unwrap().op;
            stream.write_all(&script(op, asked.len())).unwrap();
            asked.push(op);
        }
        asked
    });
    (port, thread)
}

fn asks(port: u16, action: &str) -> Ended {
    let port = port.to_string();
    let way = ["--compat", "fence_virt", "-A", "127.0.0.1", "-p", &port, "-t", "3"];
    client(&[&way[..], &["-o", action, "-n", "web2"]].concat())
}

fn code(code: Code) -> Vec<u8> {
    SerialReply(code).encode().to_vec()
}

/// A list of one domain in this state, by libvirt's number.
fn list(name: &str, state: u8) -> Vec<u8> {
    let mut record = HostRecord::END;
    record[..name.len()].copy_from_slice(name.as_bytes());
    record[64..100].copy_from_slice(b"8d7e6f5a-4b3c-4d2e-8f1a-0b9c8d7e6f5a");
    record[128] = state;
    [&code(Code::List), &record[..], &HostRecord::END, &code(Code::Success)].concat()
}

#[test]
fn off_is_listed_asked_and_listed_again() {
    let (port, server) = server(b"", |op, number| {
        if op == Op::List { list("web2", if number == 0 { 1 } else { 5 }) } else { code(Code::Success) }
    });

    let ended = asks(port, "off");

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(server.join().unwrap(), [Op::List, Op::Off, Op::List]);
}

#[test]
fn a_status_off_of_a_name_that_the_server_does_not_list_is_a_failure() {
    let (port, server) = server(b"", |op, _| if op == Op::List { list("web3", 5) } else { code(Code::Off) });

    let ended = asks(port, "status");

    assert_eq!(ended.code, 1, "never 2: {ended:?}");
    assert!(ended.err.contains("does not list web2"), "{ended:?}");
    server.join().unwrap();
}

#[test]
fn a_success_for_a_name_that_the_server_does_not_list_is_not_even_asked_for() {
    for action in ["off", "reboot", "on"] {
        let (port, server) =
            server(b"", |op, _| if op == Op::List { list("web3", 1) } else { code(Code::Success) });

        let ended = asks(port, action);

        assert_eq!(ended.code, 1, "{action}: {ended:?}");
        assert_eq!(server.join().unwrap(), [Op::List]);
    }
}

#[test]
fn a_success_that_the_server_s_own_list_denies_is_a_failure() {
    // running; paused, which can go on to write; crashed, of which nothing is known
    let scripts: [Script; 3] = [
        |op, _| if op == Op::List { list("web2", 1) } else { code(Code::Success) },
        |op, _| if op == Op::List { list("web2", 3) } else { code(Code::Success) },
        |op, _| if op == Op::List { list("web2", 6) } else { code(Code::Success) },
    ];
    for script in scripts {
        let (port, server) = server(b"", script);

        let ended = asks(port, "off");

        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("not believed"), "{ended:?}");
        server.join().unwrap();
    }
}

#[test]
fn a_status_off_of_what_the_server_lists_as_paused_is_a_failure() {
    let (port, server) = server(b"", |op, _| if op == Op::List { list("web2", 3) } else { code(Code::Off) });

    let ended = asks(port, "status");

    assert_eq!(ended.code, 1, "{ended:?}");
    server.join().unwrap();
}

#[test]
fn an_answer_that_was_left_from_an_earlier_call_answers_nothing() {
    // an `off` of before succeeded, late; the present one is refused
    let (port, server) =
        server(
            b"\r\nlogin: abba\0abba\0",
            |op, _| if op == Op::List { list("web2", 1) } else { code(Code::Denied) },
        );

    let ended = asks(port, "off");

    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.out.contains("Permission denied"), "{ended:?}");
    server.join().unwrap();
}

#[test]
fn a_server_that_says_nothing_is_a_failure_in_time() {
    let (port, server) = server(b"", |op, _| if op == Op::List { list("web2", 1) } else { Vec::new() });

    let ended = asks(port, "off");

    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("no answer from the server") && ended.err.contains("is unknown"), "{ended:?}");
    assert!(ended.took.as_secs() < 5, "{ended:?}");
    server.join().unwrap();
}

#[test]
fn a_server_without_the_key_is_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "a key that the server has not").unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request_and_challenge = [0; 176 + 64];
        stream.read_exact(&mut request_and_challenge).unwrap();
        stream.write_all(&[[7; 64], [8; 64]].concat()).unwrap();
        let mut answer = Vec::new();
        let _gone = stream.read_to_end(&mut answer);
        answer
    });

    let way = ["--compat", "fence_virt", "-T", "127.0.0.1", "-p", &port, "-k", key.path().to_str().unwrap()];
    let ended = client(&[&way[..], &["-o", "off", "-n", "web2", "-t", "3"]].concat());

    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("does not know our key"), "{ended:?}");
    assert!(server.join().unwrap().is_empty(), "its challenge is not answered");
}

#[test]
fn a_name_that_does_not_fit_is_never_asked_about() {
    let (port, server) = server(b"", |_, _| list(&"x".repeat(63), 5));
    let port = port.to_string();
    let name = "x".repeat(64);

    let way = ["--compat", "fence_virt", "-A", "127.0.0.1", "-p", &port, "-t", "3"];
    let ended = client(&[&way[..], &["-o", "off", "-n", &name]].concat());

    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(server.join().unwrap(), [Op::List]);
}
