//! The incumbent: Debian's fence_virtd, with its serial listener in vmchannel mode and its libvirt backend.
//!
//! In:  a lab, and the sockets on which the bench takes the place of the askers' QEMUs.
//! Out: a running fence_virtd, and one [`Line`] for each socket.
//!
//! Invariant: a fence_virtd that is dropped is gone.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::Lab;
use fence_vmchannel_tests::fence_virt::Packages;
pub(crate) use fence_vmchannel_tests::fence_virt::{SOCKETS, make_directory};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Result, unexpected};
use crate::legacy::{self, Operation, Said};

/// The longest wait for an answer: longer than its client's own.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECTS: Duration = Duration::from_secs(10);
/// How long one that is about to end may take for that.
const ENDS: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A running fence_virtd.
pub(crate) struct Incumbent {
    process: Child,
    pub(crate) lines: Vec<Line>,
    /// Until it had connected to every socket.
    pub(crate) connected: Duration,
    turn: usize,
}

/// One asker's channel.
pub(crate) struct Line(pub(crate) UnixStream);

impl Line {
    /// Asks and waits for the answer; none within `patience` is `None`.
    pub(crate) fn ask(&mut self, what: Operation, target: &str, patience: Duration) -> Result<Option<Said>> {
        Ok(legacy::ask(&mut self.0, what, target, patience)?)
    }

    /// Asks, and takes nothing but this result.
    pub(crate) fn expect(&mut self, what: Operation, target: &str, result: u8) -> Result<Said> {
        match self.ask(what, target, PATIENCE)? {
            Some(said) if said.result == result => Ok(said),
            Some(said) => Err(unexpected(format!("fence_virtd says {} to {what:?}", said.result))),
            None => Err(unexpected(format!("fence_virtd says nothing to {what:?}"))),
        }
    }
}

impl Incumbent {
    /// Starts it and waits until it has connected to every socket.
    pub(crate) fn start(lab: &Lab, uri: &str, sockets: &[UnixListener]) -> Result<Self> {
        let begun = Instant::now();
        let mut started = Self {
            process: launch(lab, uri, "vmchannel")?,
            lines: Vec::new(),
            connected: Duration::ZERO,
            turn: 0,
        };
        if let Err(error) = started.connect(sockets, begun) {
            let connected = started.lines.len();
            return Err(match started.ended(ENDS)? {
                Some(ended) => unexpected(format!("ended with {connected} connections: {ended}")),
                None => error,
            });
        }
        Ok(started)
    }

    fn connect(&mut self, sockets: &[UnixListener], begun: Instant) -> Result<()> {
        for socket in sockets {
            self.wait_for(socket)?;
            self.lines.push(Line(socket.accept()?.0));
        }
        self.connected = begun.elapsed();
        // it looks at new connections once a second
        let silent = || unexpected(format!("no answer with {} connections", sockets.len()));
        for line in &mut self.lines {
            line.ask(Operation::Status, "nobody", CONNECTS)?.ok_or_else(silent)?;
        }
        Ok(())
    }

    /// Starts it for real serial ports.
    pub(crate) fn serial(lab: &Lab) -> Result<Self> {
        let process = launch(lab, "qemu:///system", "serial")?;
        Ok(Self { process, lines: Vec::new(), connected: Duration::ZERO, turn: 0 })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next asker's question.
    pub(crate) fn expect(&mut self, what: Operation, target: &str, result: u8) -> Result<Said> {
        self.turn = (self.turn + 1) % self.lines.len().max(1);
        let line = self.lines.get_mut(self.turn).ok_or_else(|| unexpected("fence_virtd has no asker"))?;
        line.expect(what, target, result)
    }

    /// Whether it ends within `patience` after SIGTERM.
    pub(crate) fn ends(&mut self, patience: Duration) -> Result<bool> {
        let pid = i32::try_from(self.pid()).map_err(unexpected)?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(std::io::Error::from)?;
        Ok(self.ended(patience)?.is_some())
    }

    /// How it ended, if it does within `patience`.
    pub(crate) fn ended(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.process.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                return Ok(ended);
            }
            sleep(LOOK_AGAIN);
        }
    }

    fn wait_for(&mut self, socket: &UnixListener) -> Result<()> {
        let deadline = Instant::now() + CONNECTS;
        let look_again = PollTimeout::try_from(Duration::from_millis(50)).map_err(unexpected)?;
        loop {
            let mut sources = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut sources, look_again).map_err(std::io::Error::from)? > 0 {
                return Ok(());
            }
            if let Some(ended) = self.process.try_wait()? {
                return Err(unexpected(format!("fence_virtd ended: {ended}")));
            }
            if Instant::now() > deadline {
                return Err(unexpected("fence_virtd does not connect"));
            }
        }
    }
}

impl Drop for Incumbent {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A socket that fence_virtd will take for QEMU's.
pub(crate) fn listen(lab: &Lab, name: &str) -> Result<UnixListener> {
    let path = socket(lab, name);
    fs::remove_file(&path).ok(); // QEMU's own
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    Ok(listener)
}

/// The domain of one of its askers: a small QEMU whose socket the bench replaces.
pub(crate) fn asker_xml(name: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name>\
         <memory unit='MiB'>16</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>\
         <controller type='usb' model='none'/><memballoon model='none'/><channel type='unix'>\
         <source mode='bind' path='{SOCKETS}/{name}.sock'/>\
         <target type='virtio' name='org.fence_virt.0'/></channel></devices></domain>"
    )
}

fn socket(lab: &Lab, name: &str) -> PathBuf {
    lab.path(&format!("{SOCKETS}/{name}.sock"))
}

fn launch(lab: &Lab, uri: &str, mode: &str) -> Result<Child> {
    let packages = Packages::get()?;
    make_directory(lab)?;
    let (key, file) = (lab.directory().join("fence-virt.key"), lab.directory().join("fence-virt.conf"));
    fs::write(&key, "a key that it wants and never uses")?;
    let (key, modules) = (key.display(), packages.modules());
    let modules = modules.display();
    let settings = format!(
        "fence_virtd {{ listener = \"serial\"; backend = \"libvirt\"; module_path = \"{modules}\"; }}\n\
         listeners {{ serial {{ uri = \"{uri}\"; path = \"{SOCKETS}\"; mode = \"{mode}\"; key_file = \"{key}\"; }} }}\n\
         backends {{ libvirt {{ uri = \"{uri}\"; }} }}\n"
    );
    fs::write(&file, settings)?;
    let mut command = lab.command(packages.daemon());
    command.arg("-F").arg("-f").arg(&file);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}
