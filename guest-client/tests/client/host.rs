//! A scripted host at the other end of a socket or of a terminal, and the client as a real process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{
    Body, Decoder, Evidence, Frame, PowerState, Reply, Request, RequestId, Ruling, Verdict, encode_line,
};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

pub(crate) const CLIENT: &str = env!("CARGO_BIN_EXE_fence_vmchannel");

/// How the client ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

pub(crate) fn client(arguments: &[&str]) -> Ended {
    client_with_input(arguments, "")
}

pub(crate) fn client_with_input(arguments: &[&str], input: &str) -> Ended {
    let started = Instant::now();
    let mut child = start(arguments);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    end(child, started)
}

pub(crate) fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(CLIENT);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

pub(crate) fn end(child: Child, started: Instant) -> Ended {
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().expect("ended by a signal"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        took: started.elapsed(),
    }
}

/// The host's end of the channel.
pub(crate) struct Line {
    stream: Box<dyn ReadWrite>,
    decoder: Decoder,
}

pub(crate) trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}

impl Line {
    fn new(stream: impl ReadWrite + 'static) -> Self {
        Self { stream: Box::new(stream), decoder: Decoder::default() }
    }

    /// The next request; noise is passed over.
    pub(crate) fn hear(&mut self) -> Request {
        let mut byte = [0];
        loop {
            self.stream.read_exact(&mut byte).unwrap();
            if let Some(Frame::Plain(json)) = self.decoder.push(&mut byte.as_slice()) {
                return Request::parse(&json).unwrap();
            }
        }
    }

    /// The next line, whatever it is.
    pub(crate) fn hear_frame(&mut self) -> Frame {
        let mut byte = [0];
        loop {
            self.stream.read_exact(&mut byte).unwrap();
            if let Some(frame) = self.decoder.push(&mut byte.as_slice()) {
                return frame;
            }
        }
    }

    /// The next request, unless the client closes its end.
    pub(crate) fn hear_more(&mut self) -> Option<Request> {
        while let Some(frame) = self.hear_more_frames() {
            if let Frame::Plain(json) = frame {
                return Some(Request::parse(&json).unwrap());
            }
        }
        None
    }

    /// The next line, unless the client closes its end.
    pub(crate) fn hear_more_frames(&mut self) -> Option<Frame> {
        let mut byte = [0];
        while let Ok(1) = self.stream.read(&mut byte) {
            if let Some(frame) = self.decoder.push(&mut byte.as_slice()) {
                return Some(frame);
            }
        }
        None
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn reply(&mut self, id: RequestId, body: Body) {
        self.say(&encode_line(&Reply { id, body }).unwrap());
    }

    pub(crate) fn verdict(&mut self, request: &Request, verdict: Verdict) {
        self.reply(request.id, Body::Verdict(verdict));
    }

    /// Until the client closes its end.
    pub(crate) fn wait_for_the_end(&mut self) {
        let mut rest = Vec::new();
        let _closed = self.stream.read_to_end(&mut rest);
    }
}

pub(crate) fn done() -> Verdict {
    Verdict::new(Ruling::Done)
}

pub(crate) fn off_with_evidence() -> Verdict {
    let took = Some(Duration::from_millis(12));
    Verdict { state: Some(PowerState::Off), evidence: Some(Evidence::ProcessGone), took, ..done() }
}

/// A channel whose host does what it was told to.
pub(crate) struct Host<T> {
    pub(crate) device: String,
    thread: JoinHandle<T>,
    _keep: Keep,
}

enum Keep {
    Directory { _socket: tempfile::TempDir },
    Terminal { _slave: File },
}

impl<T: Send + 'static> Host<T> {
    /// A socket, which the host accepts as often as it likes.
    pub(crate) fn on_a_socket(script: impl FnOnce(Socket) -> T + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("channel");
        let socket = Socket { listener: UnixListener::bind(&path).unwrap(), path: path.clone() };
        let thread = std::thread::spawn(move || script(socket));
        let device = path.to_str().unwrap().to_owned();
        Self { device, thread, _keep: Keep::Directory { _socket: directory } }
    }

    /// A real terminal, as a serial port is one.
    pub(crate) fn on_a_terminal(script: impl FnOnce(Line) -> T + Send + 'static) -> Self {
        let (master, slave, device) = terminal();
        let thread = std::thread::spawn(move || script(Line::new(master)));
        Self { device, thread, _keep: Keep::Terminal { _slave: slave } }
    }

    /// What the host's script returned.
    pub(crate) fn ends(self) -> T {
        self.thread.join().unwrap()
    }
}

/// A terminal's two ends, neither of which a process that another test starts at the same time inherits.
pub(crate) fn terminal() -> (File, File, String) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let device = ptsname_r(&master).unwrap();
    let mut slave = OpenOptions::new();
    let slave = slave.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&device).unwrap();
    let mut modes = tcgetattr(&slave).unwrap();
    cfmakeraw(&mut modes);
    tcsetattr(&slave, SetArg::TCSANOW, &modes).unwrap();
    (master.as_fd().try_clone_to_owned().unwrap().into(), slave, device)
}

pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    pub(crate) path: PathBuf,
}

impl Socket {
    pub(crate) fn accept(&self) -> Line {
        let (stream, _): (UnixStream, _) = self.listener.accept().unwrap();
        Line::new(stream)
    }

    pub(crate) fn again(path: &Path) -> Self {
        std::fs::remove_file(path).unwrap();
        Self { listener: UnixListener::bind(path).unwrap(), path: path.to_owned() }
    }
}

/// The client's end when the host answers its one request with this verdict.
pub(crate) fn asked(arguments: &[&str], verdict: Verdict) -> (Ended, Request) {
    asked_for(arguments, Body::Verdict(verdict))
}

pub(crate) fn asked_for(arguments: &[&str], body: Body) -> (Ended, Request) {
    let host = Host::on_a_socket(move |socket| {
        let mut line = socket.accept();
        let request = line.hear();
        line.reply(request.id, body);
        line.wait_for_the_end();
        request
    });
    let device = host.device.clone();
    let ended = client(&[&["--device", &device], arguments].concat());
    (ended, host.ends())
}
