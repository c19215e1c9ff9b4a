//! The program `fence-vmchanneld run --simulate FILE`, with the operator's commands beside it.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fence_vmchannel_protocol::{Ask, Body, Evidence, Reason, Request, Ruling, Verdict, encode_line};
use inotify::{Inotify, WatchMask};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::agent::uuid_of;
use crate::guest::{off, reply_in, request};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with the agent's settings and its simulated domains.
pub(crate) struct Place(TempDir);

/// A running agent.
pub(crate) struct Program {
    place: Place,
    child: Child,
}

impl Place {
    pub(crate) fn with_domains(domains: &[(&str, &str)]) -> Self {
        let text = |(name, cluster): &(&str, &str)| {
            format!("[[domain]]\nname = {name:?}\nuuid = \"{}\"\ncluster = {cluster:?}\n\n", uuid_of(name))
        };
        Self::with_text(&domains.iter().map(text).collect::<String>())
    }

    pub(crate) fn with_text(domains: &str) -> Self {
        let place = Self(tempfile::Builder::new().prefix("fvs").tempdir().unwrap());
        let settings =
            format!("runtime-dir = {:?}\npolicy-dir = {:?}\n", place.path("run"), place.path("policy.d"));
        std::fs::write(place.path("agent.toml"), settings).unwrap();
        std::fs::write(place.path("domains.toml"), domains).unwrap();
        let mut closed = std::fs::DirBuilder::new(); // whatever the umask
        closed.recursive(true).mode(0o711).create(place.path("run/guests")).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What the administrator writes into the settings besides.
    pub(crate) fn add_settings(&self, text: &str) {
        let settings = std::fs::read_to_string(self.path("agent.toml")).unwrap();
        std::fs::write(self.path("agent.toml"), settings + text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
        command.arg("--config").arg(self.path("agent.toml")).args(arguments);
        command
    }

    fn run(&self) -> Command {
        let mut command = self.command(&["run", "--simulate"]);
        command.arg(self.path("domains.toml"));
        command
    }

    fn asks(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the agent and waits for its word that it is ready, as systemd does.
    pub(crate) fn start(self) -> Program {
        let notify = UnixDatagram::bind(self.path("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = self.run();
        let child = command.env("NOTIFY_SOCKET", self.path("notify")).stderr(Stdio::null()).spawn().unwrap();
        let program = Program { place: self, child };
        let mut told = [0; 64];
        let count = notify.recv(&mut told).expect("the agent says that it is ready");
        assert_eq!(&told[..count], b"READY=1");
        program
    }
}

impl Program {
    /// Connects to the guest's own socket, once it is there.
    pub(crate) fn guest(&self, name: &str) -> UnixStream {
        let dir = self.place.path("run/guests");
        let mut comings = Inotify::init().unwrap();
        comings.watches().add(&dir, WatchMask::MOVED_TO | WatchMask::CREATE).unwrap();
        let path = dir.join(format!("{}.sock", uuid_of(name)));
        loop {
            if let Ok(port) = UnixStream::connect(&path) {
                port.set_read_timeout(Some(PATIENCE)).unwrap();
                return port;
            }
            wait_for(&mut comings, &path);
        }
    }

    pub(crate) fn asks(&self, arguments: &[&str]) -> Output {
        self.place.asks(arguments)
    }

    /// SIGTERM, and how it ends.
    pub(crate) fn stops(mut self) -> Option<i32> {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill(); // ended already where the test was content
        let _ = self.child.wait();
    }
}

fn wait_for(comings: &mut Inotify, path: &Path) {
    let timeout = PollTimeout::try_from(PATIENCE).unwrap();
    let came = poll(&mut [PollFd::new(comings.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
    assert_eq!(came, 1, "{} does not come", path.display());
    let _events = comings.read_events(&mut [0; 4096]).unwrap().count();
}

fn asks(port: &UnixStream, request: &Request) -> Verdict {
    (&*port).write_all(&encode_line(request).unwrap()).unwrap();
    let mut lines = BufReader::new(port);
    loop {
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).unwrap();
        if let Body::Verdict(verdict) = reply_in(&line).body {
            return verdict;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_simulated_agent_serves_its_guests_and_marks_every_verdict() {
    let agent = Place::with_domains(&[("web1", "web"), ("web2", "web"), ("db1", "db")]).start();
    let web1 = agent.guest("web1");

    let fenced = asks(&web1, &off("web2"));
    let refused = asks(&web1, &off("db1"));
    let able = asks(&web1, &request(Ask::Monitor));

    assert_eq!((fenced.ruling, fenced.evidence), (Ruling::Done, Some(Evidence::ProcessGone)));
    assert_eq!(refused.ruling, Ruling::Refused(Reason::NotPermitted));
    assert_eq!(able.ruling, Ruling::Done);
    assert!([fenced, refused, able].iter().all(|verdict| verdict.simulated));
    assert_eq!(agent.stops(), Some(0));
}

#[test]
fn guests_and_explain_tell_the_operator_what_is_true() {
    let agent = Place::with_domains(&[("web1", "web"), ("web2", "web"), ("db1", "db")]).start();
    let web1 = agent.guest("web1");
    asks(&web1, &off("web2"));

    let guests = agent.asks(&["guests", "--json"]);
    let table = agent.asks(&["guests"]);
    let allowed = agent.asks(&["explain", "web1", "off", "web2"]);
    let denied = agent.asks(&["explain", "web1", "off", "db1"]);
    let unknown = agent.asks(&["explain", "web1", "off", "nobody"]);

    let told: serde_json::Value = serde_json::from_slice(&guests.stdout).unwrap();
    let states: Vec<_> =
        told["guests"].as_array().unwrap().iter().map(|g| (&g["name"], &g["state"])).collect();
    assert_eq!(
        format!("{states:?}"),
        r#"[(String("db1"), String("on")), (String("web1"), String("on")), (String("web2"), String("off"))]"#
    );
    assert!(text(&table.stdout).contains("web1  on     web"), "{}", text(&table.stdout));
    assert_eq!(
        (allowed.status.code(), denied.status.code(), unknown.status.code()),
        (Some(0), Some(1), Some(2))
    );
    assert!(text(&allowed.stdout).contains("cluster \"web\""), "{}", text(&allowed.stdout));
    assert!(text(&denied.stdout).starts_with("denied: web1 off db1"), "{}", text(&denied.stdout));
    assert!(text(&unknown.stderr).contains("nobody"), "{}", text(&unknown.stderr));
}

#[test]
fn a_command_without_a_running_agent_says_so() {
    let place = Place::with_domains(&[]);

    let guests = place.asks(&["guests"]);

    assert_eq!(guests.status.code(), Some(1));
    assert!(text(&guests.stderr).contains("agent"), "{}", text(&guests.stderr));
}

#[test]
fn a_malformed_simulation_is_told_with_its_file_line_and_the_keys_there_are() {
    let domain = format!("[[domain]]\nname = \"web1\"\nuuid = \"{}\"\n", uuid_of("web1"));
    for (wrong, line, told) in [
        (format!("{domain}cluter = \"web\"\n"), "line 4", "`cluster`"),
        (format!("{domain}stop-ms = \"soon\"\n"), "line 4", "u64"),
        ("[[domain]]\nname = \"web1\"\n".to_owned(), "line 1", "uuid"),
        ("[[domain]\n".to_owned(), "line 1", ""),
    ] {
        let ended = Place::with_text(&wrong).run().output().unwrap();

        let error = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{error}");
        assert!(error.contains("domains.toml") && error.contains(line) && error.contains(told), "{error}");
    }
}

#[test]
fn a_simulation_that_is_not_there_is_told_by_its_name() {
    let place = Place::with_domains(&[]);
    std::fs::remove_file(place.path("domains.toml")).unwrap();

    let ended = place.run().output().unwrap();

    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended.stderr).contains("cannot read") && text(&ended.stderr).contains("domains.toml"));
}
