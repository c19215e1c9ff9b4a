//! Requests that are signed, and what is believed of the answers.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fence_vmchannel_protocol::signing::{Direction, Key, KeyId, Nonce};
use fence_vmchannel_protocol::{
    Ask, Body, Frame, GuestIdentity, Hello, PROTOCOL, PowerState, Reason, Reply, Request, RequestId, Verdict,
    limits,
};
use tempfile::TempDir;

use crate::host::{Ended, Host, Line, Socket, client, client_with_input, done, off_with_evidence};

const SECRET: &[u8] = b"a secret that is long enough to be one\n";
pub(crate) const NONCE: Nonce = Nonce([0x11; 16]);
const OTHER_NONCE: Nonce = Nonce([0x22; 16]);

/// A directory with a key file `cluster.key` of this mode, and that file's path.
pub(crate) fn key_file(mode: u32) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cluster.key");
    write(&file, SECRET).unwrap();
    set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (directory, path)
}

pub(crate) fn key() -> (KeyId, Key) {
    ("cluster".parse().unwrap(), Key::of_file(SECRET).unwrap())
}

pub(crate) fn greet(line: &mut Line, hello: &Request, nonce: Nonce) {
    assert_eq!(hello.ask, Ask::Hello, "nothing else is asked unsigned");
    let guest = GuestIdentity { name: "web1".parse().unwrap(), uuid: uuid::Uuid::nil(), cluster: None };
    let (server, ops, line_bytes) = ("a test".to_owned(), Vec::new(), limits::LINE_BYTES);
    let hello_reply = Hello { server, protocol: PROTOCOL, nonce: nonce.to_string(), guest, ops, line_bytes };
    line.reply(hello.id, Body::Hello(hello_reply));
}

/// Hears a `hello`, answers it, and hears the request that is signed under this nonce.
pub(crate) fn hears_signed(line: &mut Line, nonce: Nonce) -> Request {
    let hello = line.hear();
    greet(line, &hello, nonce);
    loop {
        match line.hear_frame() {
            Frame::Signed(signed) => {
                let (id, key) = key();
                assert_eq!(signed.key(), &id);
                let json = signed.open(&key, &nonce, Direction::Request).expect("signed under that nonce");
                return Request::parse(&json).unwrap();
            }
            Frame::Plain(json) => panic!("unsigned: {}", String::from_utf8_lossy(&json)),
            Frame::Legacy(_) | Frame::Noise(_) => {}
        }
    }
}

pub(crate) fn signed_reply(request: &Request, nonce: Nonce, verdict: Verdict) -> Vec<u8> {
    let (id, key) = key();
    key.seal_reply(&id, &nonce, &Reply { id: request.id, body: Body::Verdict(verdict) }).unwrap()
}

fn bad_signature(line: &mut Line) {
    line.reply(RequestId::NONE, Body::Verdict(Verdict::refused(Reason::BadSignature)));
}

/// The client's end when it asks this host with a key.
fn asked<T: Send + 'static>(
    arguments: &[&str],
    script: impl FnOnce(Socket) -> T + Send + 'static,
) -> (Ended, T) {
    let (_directory, file) = key_file(0o600);
    let host = Host::on_a_socket(script);
    let device = host.device.clone();
    let ended = client(&[&["--device", &device, "--key-file", &file], arguments].concat());
    (ended, host.ends())
}

const OFF: [&str; 4] = ["-o", "off", "-n", "web2"];

#[test]
fn a_signed_off_succeeds_by_a_signed_verdict_with_evidence() {
    let (ended, request) = asked(&OFF, |socket| {
        let mut line = socket.accept();
        let request = hears_signed(&mut line, NONCE);
        line.say(&signed_reply(&request, NONCE, off_with_evidence()));
        line.wait_for_the_end();
        request
    });

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(request.ask.op(), "off");
}

#[test]
fn no_unsigned_reply_to_a_signed_request_is_believed_whatever_it_says() {
    let (ended, ()) = asked(&[&OFF[..], &["-t", "1"]].concat(), |socket| {
        let mut line = socket.accept();
        let request = hears_signed(&mut line, NONCE);
        line.verdict(&request, off_with_evidence());
        line.verdict(&request, Verdict::refused(Reason::NotPermitted));
        line.verdict(&request, Verdict { state: Some(PowerState::Off), ..done() });
        line.wait_for_the_end();
    });

    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("no answer from the host within 1 s"), "{ended:?}");
    assert_eq!(ended.out, "");
}

#[test]
fn a_reply_signed_with_another_key_nonce_or_direction_or_for_another_request_is_not_believed() {
    let (ended, ()) = asked(&[&OFF[..], &["-t", "1"]].concat(), |socket| {
        let mut line = socket.accept();
        let request = hears_signed(&mut line, NONCE);
        let reply = Reply { id: request.id, body: Body::Verdict(off_with_evidence()) };
        let another = Key::of_file(&[7; 32]).unwrap();
        line.say(&another.seal_reply(&key().0, &NONCE, &reply).unwrap());
        line.say(&signed_reply(&request, OTHER_NONCE, off_with_evidence()));
        line.say(&key().1.seal_reply(&"other".parse().unwrap(), &NONCE, &reply).unwrap());
        let elses = Request { id: RequestId::from_random([9; 16]).unwrap(), ..request.clone() };
        line.say(&signed_reply(&elses, NONCE, off_with_evidence()));
        line.say(&key().1.seal_request(&key().0, &NONCE, &request).unwrap());
        line.wait_for_the_end();
    });

    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(ended.out, "");
}

#[test]
fn an_agent_that_restarts_is_greeted_anew_and_asked_by_the_same_id_under_its_new_nonce() {
    let (ended, ids) = asked(&OFF, |socket| {
        let mut line = socket.accept();
        let before = hears_signed(&mut line, NONCE);
        drop(line);
        let mut line = Socket::again(&socket.path).accept();
        let after = hears_signed(&mut line, OTHER_NONCE);
        line.say(&signed_reply(&after, OTHER_NONCE, off_with_evidence()));
        line.wait_for_the_end();
        (before.id, after.id)
    });

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ids.0, ids.1, "it is the same request");
}

#[test]
fn a_nonce_that_was_used_up_is_asked_for_again() {
    let (ended, ids) = asked(&OFF, |socket| {
        let mut line = socket.accept();
        let before = hears_signed(&mut line, NONCE);
        bad_signature(&mut line);
        let after = hears_signed(&mut line, OTHER_NONCE);
        line.say(&signed_reply(&after, OTHER_NONCE, off_with_evidence()));
        line.wait_for_the_end();
        (before.id, after.id)
    });

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ids.0, ids.1, "it is the same request");
}

#[test]
fn an_order_that_was_accepted_under_an_earlier_nonce_is_answered_under_it() {
    let (ended, ()) = asked(&OFF, |socket| {
        let mut line = socket.accept();
        let request = hears_signed(&mut line, NONCE);
        hears_signed(&mut line, OTHER_NONCE); // after a silence
        line.say(&signed_reply(&request, NONCE, off_with_evidence()));
        line.wait_for_the_end();
    });

    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn a_key_that_the_host_does_not_know_is_told_by_name_and_soon() {
    let (ended, ()) = asked(&[&OFF[..], &["-t", "20"]].concat(), |socket| {
        let mut line = socket.accept();
        for _ in 0..3 {
            hears_signed(&mut line, NONCE);
            bad_signature(&mut line);
        }
        line.wait_for_the_end();
    });

    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("does not accept signatures of key cluster"), "{ended:?}");
    assert!(ended.took < Duration::from_secs(10), "{ended:?}");
}

#[test]
fn bad_signatures_of_before_the_request_was_signed_are_somebody_elses() {
    let (ended, ()) = asked(&OFF, |socket| {
        let mut line = socket.accept();
        (0..9).for_each(|_| bad_signature(&mut line));
        let request = hears_signed(&mut line, NONCE);
        line.say(&signed_reply(&request, NONCE, off_with_evidence()));
        line.wait_for_the_end();
    });

    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn a_look_whose_answer_was_lost_is_taken_anew_by_a_new_id_and_an_order_never_is() {
    let taken = Verdict::refused(Reason::BadSignature);
    let (looked, ids) = asked(&["-o", "status", "-n", "web2"], {
        let taken = taken.clone();
        |socket| {
            let mut line = socket.accept();
            let before = hears_signed(&mut line, NONCE);
            line.say(&signed_reply(&before, NONCE, taken));
            let after = hears_signed(&mut line, NONCE);
            line.say(&signed_reply(&after, NONCE, Verdict { state: Some(PowerState::On), ..done() }));
            line.wait_for_the_end();
            (before.id, after.id)
        }
    });
    let (ordered, ()) = asked(&OFF, |socket| {
        let mut line = socket.accept();
        let request = hears_signed(&mut line, NONCE);
        line.say(&signed_reply(&request, NONCE, taken));
        line.wait_for_the_end();
    });

    assert_eq!(looked.code, 0, "{looked:?}");
    assert_ne!(ids.0, ids.1);
    assert_eq!(ordered.code, 1, "{ordered:?}");
}

#[test]
fn a_key_file_that_others_may_open_is_refused_before_anything_is_asked() {
    for mode in [0o644, 0o640, 0o606, 0o660] {
        let (_directory, file) = key_file(mode);
        let ended = client(&[&OFF[..], &["--key-file", &file, "--device", "/dev/null"]].concat());

        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("chmod 0600"), "{ended:?}");
    }
}

#[test]
fn a_key_that_is_missing_too_short_or_has_no_usable_name_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let file = directory.path().join(name);
        write(&file, content).unwrap();
        set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        file.to_str().unwrap().to_owned()
    };
    for (path, told) in [
        (file("short.key", b"short"), "32 to 4096 bytes"),
        (file("a b.key", SECRET), "give --key-id"),
        (format!("{}/none.key", directory.path().display()), "cannot read the key"),
        (directory.path().display().to_string(), "is no regular file"),
    ] {
        let id: &[&str] = if told.contains("regular") { &["--key-id", "x"] } else { &[] };
        let ended = client(&[&["-o", "monitor", "--key-file", &path, "--device", "/dev/null"], id].concat());

        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains(told), "{told}: {ended:?}");
    }
}

#[test]
fn a_key_is_taken_from_standard_input_too_and_its_name_may_be_another() {
    let (_directory, file) = key_file(0o600);
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        let hello = line.hear();
        greet(&mut line, &hello, NONCE);
        loop {
            if let Frame::Signed(signed) = line.hear_frame() {
                return signed.key().to_string();
            }
        }
    });
    let input = format!("action=monitor\ndevice={}\nkey_file={file}\nkey_id=other\ntimeout=1\n", host.device);

    let ended = client_with_input(&[], &input);

    assert_eq!(host.ends(), "other", "{ended:?}");
}

#[test]
fn validate_all_looks_at_the_key() {
    let (_directory, file) = key_file(0o644);
    let host = Host::on_a_socket(drop);

    let ended = client(&["-o", "validate-all", "-n", "web2", "--device", &host.device, "-k", &file]);

    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("chmod 0600"), "{ended:?}");
    host.ends();
}
