//! A broker as a process, between programs and a scripted host.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::host::{CLIENT, Ended, end};

/// A user who owns nothing.
const NOBODY: u32 = 65534;
const SOON: Duration = Duration::from_secs(10);

/// A running `fence_vmchannel broker`.
pub(crate) struct Broker {
    directory: tempfile::TempDir,
    device: String,
    process: Child,
}

impl Broker {
    /// A broker for the host at `device`, with this `broker.toml`.
    pub(crate) fn start(device: &str, rules: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.path().join("broker.toml"), rules).unwrap();
        fs::set_permissions(directory.path().join("broker.toml"), Permissions::from_mode(0o644)).unwrap();
        let process = launch(directory.path(), device);
        Self { directory, device: device.to_owned(), process }.listening()
    }

    fn listening(self) -> Self {
        let deadline = Instant::now() + SOON;
        while UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "the broker does not listen");
            std::thread::yield_now();
        }
        self
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("broker.sock")
    }

    /// The path of its socket, as `--device` takes it.
    pub(crate) fn device(&self) -> String {
        self.socket().to_str().unwrap().to_owned()
    }

    /// The path of its `broker.toml`.
    pub(crate) fn config(&self) -> String {
        self.directory.path().join("broker.toml").to_str().unwrap().to_owned()
    }

    /// Kills it (SIGKILL) and starts it again.
    pub(crate) fn restart(mut self) -> Self {
        self.kill();
        self.process = launch(self.directory.path(), &self.device);
        self.listening()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// A client of another user than root, who asks the broker.
    pub(crate) fn client_of_nobody(&self, arguments: &[&str]) -> Ended {
        let started = Instant::now();
        let program = self.directory.path().join("client");
        if !program.exists() {
            fs::copy(CLIENT, &program).unwrap(); // the build's directory may be closed to others
        }
        let mut command = Command::new(program);
        command.args(["--device", &self.device()]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        end(command.spawn().unwrap(), started)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The user of [`Broker::client_of_nobody`]: whoever runs the tests, if that is not root.
pub(crate) fn nobody() -> u32 {
    let user = nix::unistd::geteuid();
    if user.is_root() { NOBODY } else { user.as_raw() }
}

/// Lets this user, who may not be root, ask everything; first.
pub(crate) fn us() -> String {
    format!("[[allow]]\nuser = {}\nops = ['all']\nfirst = true\n", nix::unistd::geteuid())
}

fn launch(directory: &Path, device: &str) -> Child {
    let mut command = Command::new(CLIENT);
    command.args(["broker", "--device", device]);
    command.arg("--socket").arg(directory.join("broker.sock"));
    command.arg("--config").arg(directory.join("broker.toml"));
    command.stdin(Stdio::null()).spawn().unwrap()
}
