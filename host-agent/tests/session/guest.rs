//! The program inside a guest: writes lines into its port and reads what comes.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fence_vmchannel_host_agent::channel::Ended;
use fence_vmchannel_protocol::{
    Ask, Body, Decoder, Frame, GuestIdentity, Hello, Item, Method, Phase, Power, Reply, Request, RequestId,
    Verdict, encode_line, limits,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::{STEP, pass, settle};

/// No answer takes longer, in the test's own time.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Guest {
    port: UnixStream,
    read: Vec<u8>,
    ended: watch::Receiver<Option<Ended>>,
}

/// What came for one request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The phases of its order, and when each was told.
    pub(crate) progress: Vec<(Phase, Duration)>,
    pub(crate) verdict: Verdict,
}

/// A request as the client sends it when nothing special is asked for.
pub(crate) fn request(ask: Ask) -> Request {
    Request {
        id: new_id(),
        ask,
        timeout: limits::TIMEOUT_DEFAULT,
        delay: Duration::ZERO,
        method: Method::OnOff,
    }
}

pub(crate) fn power(power: Power, target: &str) -> Request {
    request(Ask::Power(power, target.parse().unwrap()))
}

/// `off`, with an id of its own.
pub(crate) fn off(target: &str) -> Request {
    power(Power::Off, target)
}

fn new_id() -> RequestId {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    RequestId::from_random(u128::from(number).to_be_bytes()).unwrap()
}

impl Guest {
    pub(crate) fn at(port: UnixStream, ended: watch::Receiver<Option<Ended>>) -> Self {
        port.set_nonblocking(true).unwrap();
        Self { port, read: Vec::new(), ended }
    }

    /// Writes these bytes; they wait in the socket until the agent's next turn.
    pub(crate) fn says(&mut self, bytes: &[u8]) {
        self.port.write_all(bytes).expect("the socket has room");
    }

    pub(crate) fn sends(&mut self, request: &Request) {
        self.says(&encode_line(request).unwrap());
    }

    /// Writes this line again and again until the socket is full; how often.
    pub(crate) fn floods(&mut self, line: &[u8]) -> usize {
        let mut count = 0;
        loop {
            match self.port.write(line) {
                Ok(written) if written == line.len() => count += 1,
                Ok(_) => return count + 1,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::BrokenPipe), "{error}");
                    return count;
                }
            }
        }
    }

    /// Exactly so many bytes, however long they take.
    pub(crate) async fn hears_bytes(&mut self, count: usize) -> Vec<u8> {
        let begun = Instant::now();
        loop {
            settle().await;
            self.takes_what_came();
            if self.read.len() >= count {
                let rest = self.read.split_off(count);
                return std::mem::replace(&mut self.read, rest);
            }
            assert!(begun.elapsed() < PATIENCE, "only {:?} came", self.read);
            pass(STEP).await;
        }
    }

    /// Everything that has come by now and was not heard yet.
    pub(crate) async fn has_in_its_port(&mut self) -> Vec<u8> {
        settle().await;
        self.takes_what_came();
        std::mem::take(&mut self.read)
    }

    fn takes_what_came(&mut self) {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.port.read(&mut chunk) {
            self.read.extend_from_slice(&chunk[..count]);
        }
    }

    /// A line that has come already.
    pub(crate) fn has_heard(&mut self) -> Option<Vec<u8>> {
        self.takes_what_came();
        let end = self.read.iter().position(|&byte| byte == b'\n')?;
        let rest = self.read.split_off(end + 1);
        Some(std::mem::replace(&mut self.read, rest))
    }

    /// The next line, however long it takes.
    pub(crate) async fn hears_line(&mut self) -> Vec<u8> {
        let begun = Instant::now();
        loop {
            settle().await;
            if let Some(line) = self.has_heard() {
                return line;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer");
            pass(STEP).await;
        }
    }

    pub(crate) async fn hears(&mut self) -> Reply {
        reply_in(&self.hears_line().await)
    }

    /// Everything that has come by now.
    pub(crate) async fn hears_all(&mut self) -> Vec<Reply> {
        settle().await;
        std::iter::from_fn(|| self.has_heard()).map(|line| reply_in(&line)).collect()
    }

    /// The answer to this request: its progress and its verdict.
    pub(crate) async fn hears_of(&mut self, request: &Request) -> Answer {
        let mut progress = Vec::new();
        loop {
            let reply = self.hears().await;
            assert_eq!(reply.id, request.id, "nothing else was asked");
            match reply.body {
                Body::Progress(phase, elapsed) => progress.push((phase, elapsed)),
                Body::Verdict(verdict) => return Answer { progress, verdict },
                Body::Items(..) | Body::Hello(_) | Body::Whoami(_) | Body::HostStatus(_) => {
                    panic!("a verdict was asked for")
                }
            }
        }
    }

    pub(crate) async fn asks(&mut self, request: &Request) -> Verdict {
        self.sends(request);
        self.hears_of(request).await.verdict
    }

    pub(crate) async fn asks_off(&mut self, target: &str) -> Verdict {
        self.asks(&off(target)).await
    }

    pub(crate) async fn asks_on(&mut self, target: &str) -> Verdict {
        self.asks(&power(Power::On, target)).await
    }

    pub(crate) async fn asks_reboot(&mut self, target: &str) -> Verdict {
        self.asks(&power(Power::Reboot, target)).await
    }

    pub(crate) async fn asks_status(&mut self, target: &str) -> Verdict {
        self.asks(&request(Ask::Status(target.parse().unwrap()))).await
    }

    pub(crate) async fn asks_monitor(&mut self) -> Verdict {
        self.asks(&request(Ask::Monitor)).await
    }

    pub(crate) async fn asks_list(&mut self) -> Vec<Item> {
        self.sends(&request(Ask::List));
        let mut all = Vec::new();
        loop {
            let Body::Items(items, more) = self.hears().await.body else { panic!("a list was asked for") };
            all.extend(items);
            if !more {
                return all;
            }
        }
    }

    pub(crate) async fn asks_hello(&mut self) -> Hello {
        self.sends(&request(Ask::Hello));
        let Body::Hello(hello) = self.hears().await.body else { panic!("hello was asked for") };
        hello
    }

    pub(crate) async fn asks_whoami(&mut self) -> GuestIdentity {
        self.sends(&request(Ask::Whoami));
        let Body::Whoami(identity) = self.hears().await.body else { panic!("whoami was asked for") };
        identity
    }

    /// Whether the agent has ended this connection because its replies were not read.
    pub(crate) fn was_cut_off(&self) -> bool {
        matches!(&*self.ended.borrow(), Some(Ended::NotReading))
    }
}

/// The reply in a line.
pub(crate) fn reply_in(line: &[u8]) -> Reply {
    let Some(Frame::Plain(json)) = Decoder::default().push(&mut &line[..]) else { panic!("{line:?}") };
    Reply::parse(&json).unwrap()
}
