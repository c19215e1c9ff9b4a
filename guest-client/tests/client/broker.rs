//! Many programs, one channel.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{
    Ask, Body, Decoder, Frame, Method, PowerState, Reason, Reply, Request, RequestId, Ruling, Verdict,
    encode_line,
};

use crate::host::{CLIENT, Host, Socket, client, done, end, off_with_evidence, start};
use crate::sharing::{Broker, nobody, us};
use crate::signed::{NONCE, hears_signed, key_file, signed_reply};

const SOON: Duration = Duration::from_secs(10);

/// web1 is off, web2 is on, web3 is off.
fn state_of(request: &Request) -> Verdict {
    let target = request.ask.target().unwrap().to_string();
    let number: u32 = target.strip_prefix("web").unwrap().parse().unwrap();
    let state = if number.is_multiple_of(2) { PowerState::On } else { PowerState::Off };
    Verdict { state: Some(state), ..done() }
}

fn status_of(number: usize) -> (String, i32) {
    (format!("web{number}"), if number.is_multiple_of(2) { 0 } else { 2 })
}

/// A host that answers every status until its channel ends.
fn answering() -> Host<()> {
    Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        while let Some(request) = line.hear_more() {
            let verdict = state_of(&request);
            line.verdict(&request, verdict);
        }
    })
}

/// A program that speaks to the broker by itself.
struct Program {
    stream: UnixStream,
    decoder: Decoder,
}

impl Program {
    fn of(broker: &Broker) -> Self {
        let stream = UnixStream::connect(broker.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { stream, decoder: Decoder::default() }
    }

    fn ask(&mut self, id: u8, ask: Ask) {
        let id = RequestId::from_random([id; 16]).unwrap();
        let (timeout, delay) = (Duration::from_secs(5), Duration::ZERO);
        let request = Request { id, ask, timeout, delay, method: Method::OnOff };
        self.stream.write_all(&encode_line(&request).unwrap()).unwrap();
    }

    /// The next reply; none when the broker has closed the connection.
    fn hears(&mut self) -> Option<Reply> {
        let mut byte = [0];
        while let Ok(1) = self.stream.read(&mut byte) {
            if let Some(Frame::Plain(json)) = self.decoder.push(&mut byte.as_slice()) {
                return Some(Reply::parse(&json).unwrap());
            }
        }
        None
    }

    fn hears_verdict(&mut self) -> Verdict {
        let reply = self.hears().unwrap();
        let Body::Verdict(verdict) = reply.body else { panic!("no verdict: {reply:?}") };
        verdict
    }
}

fn status(target: &str) -> Ask {
    Ask::Status(target.parse().unwrap())
}

#[test]
fn ten_programs_at_once_get_their_own_answers_in_whatever_order_the_host_gives_them() {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        for _ in 0..2 {
            let requests: Vec<_> = (0..5).map(|_| line.hear()).collect();
            for request in requests.iter().rev() {
                line.verdict(request, state_of(request));
            }
        }
        line
    });
    let broker = Broker::start(&host.device, &us());
    let device = broker.device();

    let names: Vec<_> = (1..=10).map(status_of).collect();
    let asked = Instant::now();
    let programs: Vec<_> =
        names.iter().map(|(name, _)| start(&["--device", &device, "-o", "status", "-n", name])).collect();
    let ended: Vec<_> = programs.into_iter().map(|program| end(program, asked)).collect();

    for ((name, code), ended) in names.iter().zip(ended) {
        assert_eq!(ended.code, *code, "{name}: {ended:?}");
        assert!(ended.out.contains(name), "{ended:?}");
    }
    host.ends();
}

#[test]
fn a_program_without_rights_is_refused_and_the_host_hears_nothing_of_it() {
    let host = Host::on_a_socket(|socket| socket.accept().hear());
    let rules = format!(
        "{}[[allow]]\nuser = {}\nops = ['monitor']\n",
        if nobody() == 65534 { us() } else { String::new() },
        nobody()
    );
    let broker = Broker::start(&host.device, &rules);

    let refused = broker.client_of_nobody(&["-o", "off", "-n", "web2", "-t", "5"]);
    let permitted = broker.client_of_nobody(&["-o", "monitor", "-t", "0.3"]);

    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("not-permitted"), "{refused:?}");
    assert!(refused.err.contains("may ask monitor; see broker.toml"), "{refused:?}");
    assert_eq!(permitted.code, 1, "this host does not answer");
    assert_eq!(host.ends().ask, Ask::Monitor);
}

#[test]
fn a_user_whom_no_rule_names_may_ask_nothing() {
    let host = Host::on_a_socket(|socket| socket.accept());
    let broker = Broker::start(&host.device, "");

    let ended = broker.client_of_nobody(&["-o", "whoami", "-t", "5"]);

    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("may ask nothing"), "{ended:?}");
    host.ends();
}

#[test]
fn a_killed_broker_loses_nothing_that_was_decided() {
    let (heard, asked) = channel();
    let host = Host::on_a_socket(move |socket: Socket| {
        let first = socket.accept().hear(); // decided, and its channel ends with the broker
        heard.send(()).unwrap();
        let mut line = socket.accept();
        let second = line.hear();
        line.verdict(&second, off_with_evidence());
        (first, second, line)
    });
    let broker = Broker::start(&host.device, &us());
    let begun = Instant::now();
    let program = start(&["--device", &broker.device(), "-o", "off", "-n", "web2"]);

    asked.recv().unwrap();
    let _broker = broker.restart();

    let ended = end(program, begun);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.took < SOON, "{ended:?}");
    let (first, second, _line) = host.ends();
    assert_eq!((first.id, &first.ask), (second.id, &second.ask), "asked again by the same id");
}

#[test]
fn a_host_that_comes_back_is_asked_again_by_the_same_id() {
    let host = Host::on_a_socket(|socket: Socket| {
        let first = socket.accept().hear(); // and hangs up
        let mut line = socket.accept();
        let second = line.hear();
        line.verdict(&second, off_with_evidence());
        (first.id, second.id, line)
    });
    let broker = Broker::start(&host.device, &us());

    let ended = client(&["--device", &broker.device(), "-o", "off", "-n", "web2"]);

    assert_eq!(ended.code, 0, "{ended:?}");
    let (first, second, _line) = host.ends();
    assert_eq!(first, second);
}

#[test]
fn a_host_that_is_away_is_a_failure_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let nothing = directory.path().join("none");
    let broker = Broker::start(nothing.to_str().unwrap(), &us());

    let ended = client(&["--device", &broker.device(), "-o", "off", "-n", "web2", "-t", "2"]);

    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("timeout") && ended.err.contains("there is no"), "{ended:?}");
    assert!(ended.err.contains("off web2 failed"), "{ended:?}");
}

#[test]
fn a_signed_request_passes_the_broker_and_its_signed_answer_is_believed() {
    let host = Host::on_a_socket(|socket: Socket| {
        let mut line = socket.accept();
        let request = hears_signed(&mut line, NONCE);
        line.say(&signed_reply(&request, NONCE, off_with_evidence()));
        line
    });
    let broker = Broker::start(&host.device, &us());
    let (_directory, key) = key_file(0o600);

    let ended = client(&["--device", &broker.device(), "--key-file", &key, "-o", "off", "-n", "web2"]);

    assert_eq!(ended.code, 0, "{ended:?}");
    host.ends();
}

#[test]
fn two_programs_whose_ids_collide_are_not_mixed() {
    let (heard, asked) = channel();
    let (refused, may_answer) = channel();
    let host = Host::on_a_socket(move |socket: Socket| {
        let mut line = socket.accept();
        let request = line.hear();
        heard.send(()).unwrap();
        may_answer.recv().unwrap();
        line.verdict(&request, state_of(&request));
        line
    });
    let broker = Broker::start(&host.device, &us());
    let (mut one, mut other) = (Program::of(&broker), Program::of(&broker));

    one.ask(7, status("web1"));
    asked.recv().unwrap();
    other.ask(7, status("web2"));
    let others = other.hears_verdict();
    refused.send(()).unwrap();

    assert_eq!(others.ruling, Ruling::Refused(Reason::BadRequest));
    assert_eq!(one.hears_verdict().state, Some(PowerState::Off));
    host.ends();
}

#[test]
fn programs_that_flood_send_garbage_or_never_read_hurt_nobody_else() {
    let host = answering();
    let broker = Broker::start(&host.device, &us());
    let garbage = vec![b'x'; 1 << 16];
    let mut hostile: Vec<_> = (0..6).map(|_| UnixStream::connect(broker.socket()).unwrap()).collect();
    let flood = |stream: &mut UnixStream, bytes: &[u8]| {
        stream.set_nonblocking(true).unwrap();
        while stream.write(bytes).is_ok() {}
    };
    let (noisy, asking) = hostile.split_at_mut(3);
    noisy.iter_mut().for_each(|stream| flood(stream, &garbage));
    let bad = encode_line(&serde_json::json!({"id": "0123456789abcdef0123456789abcdef", "op": "?"})).unwrap();
    asking.iter_mut().for_each(|stream| flood(stream, &bad));

    let ended = client(&["--device", &broker.device(), "-o", "status", "-n", "web2", "-t", "5"]);

    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.took < Duration::from_secs(2), "{ended:?}");
    drop(hostile);
    drop(broker);
    host.ends();
}

#[test]
fn a_program_that_asks_too_much_at_once_is_busy_and_the_others_are_served() {
    let host = answering();
    let broker = Broker::start(&host.device, &us());
    let mut greedy = Program::of(&broker);
    (1..=60).for_each(|id| greedy.ask(id, status("web2")));

    let ended = client(&["--device", &broker.device(), "-o", "status", "-n", "web1", "-t", "5"]);
    let verdicts: Vec<_> = (1..=60).map(|_| greedy.hears_verdict()).collect();

    assert_eq!(ended.code, 2, "{ended:?}");
    let busy = verdicts.iter().filter(|verdict| verdict.ruling == Ruling::Refused(Reason::Busy)).count();
    let answered = verdicts.iter().filter(|verdict| verdict.state == Some(PowerState::On)).count();
    assert_eq!(busy + answered, 60, "each request has one answer");
    drop((greedy, broker));
    host.ends();
}

#[test]
fn a_program_that_goes_away_leaves_its_turn_to_others_and_is_never_asked_for() {
    let host = Host::on_a_socket(|socket: Socket| {
        let mut line = socket.accept();
        let first = line.hear();
        line.verdict(&first, state_of(&first));
        line.hear_more()
    });
    let directory = tempfile::tempdir().unwrap();
    let away = directory.path().join("channel");
    let broker = Broker::start(away.to_str().unwrap(), &us());
    let mut gone = Program::of(&broker);
    gone.ask(1, Ask::Power(fence_vmchannel_protocol::Power::Off, "web2".parse().unwrap()));
    gone.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(gone.hears().is_none());

    let patient = start(&["--device", &broker.device(), "-o", "status", "-n", "web1", "-t", "8"]);
    std::os::unix::fs::symlink(&host.device, &away).unwrap();

    assert_eq!(end(patient, Instant::now()).code, 2);
    drop(broker);
    assert_eq!(host.ends(), None, "the host never hears of the other");
}

#[test]
fn a_socket_that_is_passed_as_standard_input_is_served() {
    let host = answering();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut broker = Command::new(CLIENT)
        .args(["broker", "--device", &host.device, "--config", "/none"])
        .env("LISTEN_FDS", "1")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .spawn()
        .unwrap();

    let ended = client(&["--device", path.to_str().unwrap(), "-o", "status", "-n", "web2", "-t", "5"]);

    assert_eq!(ended.code, 0, "{ended:?}");
    broker.kill().unwrap();
    broker.wait().unwrap();
    host.ends();
}

#[test]
fn a_socket_that_is_passed_otherwise_is_told() {
    let mut command = Command::new(CLIENT);
    command.arg("broker").env("LISTEN_FDS", "1").stdin(Stdio::null());

    let ended = command.output().unwrap();

    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("set StandardInput=socket"), "{ended:?}");
}

#[test]
fn there_is_one_broker_at_a_socket_and_a_killed_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let device = directory.path().join("none");
    let broker = Broker::start(device.to_str().unwrap(), &us());
    let mut second = Command::new(CLIENT);
    second.arg("broker").arg("--socket").arg(broker.socket()).stdin(Stdio::null());

    let told = second.output().unwrap();
    let _broker = broker.restart();

    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("another broker serves"), "{told:?}");
}

#[test]
fn a_configuration_with_a_fault_is_told_by_check_and_allows_nobody_anything() {
    let host = Host::on_a_socket(|socket| socket.accept());
    let faulty =
        format!("[[allow]]\nuser = {}\nops = ['all']\n[[allow]]\nuser = 7\nops = ['of']\n", nobody());
    let broker = Broker::start(&host.device, &faulty);

    let checked = client(&["broker", "--check", "--config", &broker.config()]);
    let asked = broker.client_of_nobody(&["-o", "off", "-n", "web2", "-t", "5"]);

    assert_eq!(checked.code, 1);
    assert!(checked.err.contains("\"of\" is none of the ops"), "{checked:?}");
    assert_eq!(asked.code, 1);
    assert!(asked.err.contains("may ask nothing"), "{asked:?}");
    host.ends();
}

#[test]
fn a_serial_port_is_shared_as_well() {
    let host = Host::on_a_terminal(|mut line| {
        let requests = [line.hear(), line.hear()];
        requests.iter().rev().for_each(|request| line.verdict(request, state_of(request)));
        line
    });
    let broker = Broker::start(&host.device, &us());
    let device = broker.device();

    let begun = Instant::now();
    let on = start(&["--device", &device, "-o", "status", "-n", "web2"]);
    let off = start(&["--device", &device, "-o", "status", "-n", "web1"]);

    assert_eq!((end(on, begun).code, end(off, begun).code), (0, 2));
    host.ends();
}
