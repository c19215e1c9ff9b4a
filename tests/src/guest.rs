//! Guests: virtual machines in a lab, real ones with a shell and cheap ones for numbers.
//!
//! In:  a [`Plan`], written as a sentence.
//! Out: a [`Guest`] to type commands into, to look at and to hurt.
//!
//! Invariant: a guest that is dropped is gone from the lab.

mod console;
mod domain;
mod process;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use process::Process;

use crate::error::{Doing, LabError, Result};
use crate::image::Image;
use crate::lab::Lab;
use crate::programs::Ran;
use console::Console;

/// Long enough for a boot while other tests use the machine's two cores.
const BOOT: Duration = Duration::from_secs(60);
/// A little longer than our client's own timeout of 55 s.
const COMMAND: Duration = Duration::from_secs(60);

/// libvirtd may just be starting.
const SEEN: Duration = Duration::from_secs(20);

/// What libvirt says where a channel's socket is missing.
const NO_SOCKET: &str = ".sock: No such file or directory";

/// How long a dropped guest waits for libvirt to forget it.
const FORGET: Duration = Duration::from_secs(5);

/// How a guest reaches the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// A virtio-serial port; the agent listens in its own directory, QEMU connects.
    VirtioConnect,
    /// A virtio-serial port; QEMU listens, at a path of libvirt's choice when there is none.
    VirtioBind {
        /// The socket's path.
        path: Option<String>,
    },
    /// The second serial port (ttyS1); the agent listens.
    SerialConnect,
    /// The second serial port (ttyS1); QEMU listens in the agent's directory.
    SerialBind,
    /// A further serial port, with a socket at this path on which QEMU listens.
    SerialAt {
        /// The socket's path.
        path: String,
        /// 2 is ttyS2.
        port: u8,
    },
    /// An address in the guest's user network that leads to the agent's socket, as fence_virtd's "vmchannel".
    Guestfwd,
    /// As [`Self::Guestfwd`], with a socket at this path on which QEMU listens.
    GuestfwdAt {
        /// The socket's path.
        path: String,
        /// The address in the guest's network, instead of [`GUESTFWD`].
        address: &'static str,
    },
}

/// Where fence_virt's clients look for a channel in the user network.
pub const GUESTFWD: &str = "10.0.2.179";

/// A guest that is to be.
#[derive(Debug, Clone)]
#[must_use]
pub struct Plan {
    name: String,
    cluster: Option<String>,
    channels: Vec<Channel>,
    transient: bool,
    cheap: bool,
    disk: Option<String>,
    unseen: bool,
    memory_mib: u32,
}

/// A guest in a lab.
#[derive(Debug)]
pub struct Guest<'lab> {
    lab: &'lab Lab,
    plan: Plan,
    uuid: String,
    console: Mutex<Option<Console>>,
}

impl Plan {
    /// Writes the cluster's name into the domain's metadata.
    pub fn in_cluster(mut self, cluster: &str) -> Self {
        self.cluster = Some(cluster.to_owned());
        self
    }

    /// Gives the guest a channel to the host.
    pub fn with(mut self, channel: Channel) -> Self {
        self.channels.push(channel);
        self
    }

    /// libvirt forgets the guest when it stops.
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// A QEMU process without an operating system, paused: 13 MiB, started in a quarter of a second.
    pub fn cheap(mut self) -> Self {
        self.cheap = true;
        self
    }

    /// Gives a real guest more memory than the usual 128 MiB, for more programs in its image.
    pub fn with_memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Gives the guest a disk, which it tries to boot from if it is cheap and not paused any more.
    pub fn with_disk(mut self, path: &str) -> Self {
        self.disk = Some(path.to_owned());
        self
    }

    /// Its process is known by libvirt's pid file only: for a guest that moves between labs, which share the machine's
    /// processes as hosts do not.
    pub fn unseen(mut self) -> Self {
        self.unseen = true;
        self
    }

    /// Makes libvirt know the guest, without starting it.
    ///
    /// # Errors
    /// When libvirt refuses it, or there is nothing to boot it from.
    pub fn define(self, lab: &Lab) -> Result<Guest<'_>> {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").doing("make a UUID")?;
        let guest = Guest { lab, plan: self, uuid: uuid.trim().to_owned(), console: Mutex::new(None) };
        if !guest.plan.cheap {
            Image::get()?.put_into(lab)?;
        }
        let file = guest.definition();
        let xml = guest.plan.xml(&guest.uuid);
        fs::write(&file, xml).doing(format!("write {}", file.display()))?;
        if !guest.plan.transient {
            lab.virsh(&["define", &file.to_string_lossy()])?;
        }
        Ok(guest)
    }

    /// Starts the guest, without waiting for its operating system.
    ///
    /// # Errors
    /// When libvirt cannot start it.
    pub fn start(self, lab: &Lab) -> Result<Guest<'_>> {
        let guest = self.define(lab)?;
        let deadline = Instant::now() + SEEN;
        loop {
            match guest.start() {
                // The agent, where one runs, may just be making the socket of what was defined a moment ago.
                Err(LabError::Program { said, .. })
                    if said.contains(NO_SOCKET) && Instant::now() < deadline => {}
                started => return started.map(|()| guest),
            }
        }
    }

    /// Starts the guest and waits for its shell.
    ///
    /// # Errors
    /// When libvirt cannot start it, or no shell comes.
    pub fn boot(self, lab: &Lab) -> Result<Guest<'_>> {
        let guest = self.start(lab)?;
        guest.wait_for_shell()?;
        Ok(guest)
    }
}

impl Guest<'_> {
    /// Begins the plan of a guest: a real one, persistent, in no cluster, without a channel.
    /// Its name is also its host name.
    pub fn named(name: &str) -> Plan {
        Plan {
            name: name.to_owned(),
            cluster: None,
            channels: Vec::new(),
            transient: false,
            cheap: false,
            disk: None,
            unseen: false,
            memory_mib: 128,
        }
    }

    /// Starts the guest when it does not run.
    ///
    /// # Errors
    /// When libvirt cannot start it.
    pub fn start(&self) -> Result<()> {
        let definition = self.definition();
        let mut words = if self.plan.transient {
            vec!["create", definition.to_str().unwrap_or_default()]
        } else {
            vec!["start", self.name()]
        };
        if self.plan.cheap {
            words.push("--paused");
        }
        self.lab.virsh(&words)?;
        if !self.plan.cheap {
            *self.console() = Some(self.open_console()?);
        }
        Ok(())
    }

    /// Waits for the guest's shell, also when somebody else started it again.
    ///
    /// # Errors
    /// When it does not come within a minute.
    pub fn wait_for_shell(&self) -> Result<()> {
        let mut opened = self.open_console()?;
        opened.wait_for_shell(BOOT)?;
        *self.console() = Some(opened);
        Ok(())
    }

    /// Runs one command line in the guest, as root, for at most a minute.
    ///
    /// # Errors
    /// When the guest ends meanwhile, or the command does not.
    pub fn run(&self, command: &str) -> Result<Ran> {
        self.run_within(COMMAND, command)
    }

    /// Runs one command line in the guest, as root, for at most `patience`.
    ///
    /// # Errors
    /// When the guest ends meanwhile, or the command does not.
    pub fn run_within(&self, patience: Duration, command: &str) -> Result<Ran> {
        let mut console = self.console();
        let console = console.as_mut().ok_or_else(|| LabError::Ended {
            who: format!("the guest {}", self.name()),
            awaited: command.to_owned(),
            last_seen: "it has no console: boot it first".into(),
        })?;
        console.run(command, patience)
    }

    /// The guest's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// The domain's UUID.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The pid of its QEMU, from libvirt's own pid file.
    ///
    /// # Errors
    /// When libvirt has no such file: it does not run.
    pub fn pid(&self) -> Result<i32> {
        let file = format!("/run/libvirt/qemu/{}.pid", self.name());
        let file = self.lab.path(&file);
        let text = fs::read_to_string(&file).doing(format!("read {}", file.display()))?;
        let pid = text.trim().parse().map_err(std::io::Error::other);
        pid.doing(format!("read a pid from {}", file.display()))
    }

    /// Its QEMU process, held so that it can be watched to its end.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self) -> Result<Process> {
        Process::hold(self.pid()?, self.lab.directory().to_owned())
    }

    /// Whether a process with its UUID lives on this machine, whatever libvirt says.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut command_lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        command_lines.any(|line| {
            let mut words = line.split(|byte| *byte == 0);
            words.any(|word| word == b"-uuid") && words.next() == Some(self.uuid.as_bytes())
        })
    }

    /// How often libvirt has started a process for it, by libvirt's own log of this guest.
    #[must_use]
    pub fn starts(&self) -> usize {
        let log = self.lab.path(&format!("/var/log/libvirt/qemu/{}.log", self.name()));
        fs::read_to_string(log).unwrap_or_default().matches(": starting up libvirt version").count()
    }

    /// Stops the guest by libvirt.
    ///
    /// # Errors
    /// When libvirt fails, or it does not run.
    pub fn destroy(&self) -> Result<()> {
        self.lab.virsh(&["destroy", self.name()]).map(drop)
    }

    /// Waits until libvirt, too, has seen its end, so that it can be started again.
    ///
    /// # Errors
    /// When it does not see it within 20 s.
    pub fn wait_until_shut_off(&self) -> Result<()> {
        let deadline = Instant::now() + SEEN;
        loop {
            let state = self.lab.virsh(&["domstate", self.name()])?;
            if state.trim() == "shut off" {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(LabError::TimedOut {
                    waited: SEEN,
                    awaited: format!("the end of {} in libvirt's eyes", self.name()),
                    last_seen: state,
                });
            }
        }
    }

    /// Makes libvirt forget the guest.
    ///
    /// # Errors
    /// When libvirt fails, or does not know it.
    pub fn undefine(&self) -> Result<()> {
        self.lab.virsh(&["undefine", "--managed-save", self.name()]).map(drop)
    }

    fn console(&self) -> MutexGuard<'_, Option<Console>> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_console(&self) -> Result<Console> {
        let tty = self.lab.virsh(&["ttyconsole", self.name()])?;
        Console::open(self.name(), tty.trim().as_ref())
    }

    fn definition(&self) -> PathBuf {
        self.lab.directory().join(format!("{}.xml", self.name()))
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if let Ok(process) = self.process() {
            process.thaw().ok();
            process.kill().ok();
        }
        if !self.plan.transient {
            // libvirtd may hang, on purpose
            self.lab.virsh_within(FORGET, &["undefine", "--managed-save", self.name()]).ok();
        }
    }
}
