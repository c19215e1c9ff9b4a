//! A running fence_virtd with one listener and its libvirt backend.
//!
//! In:  a lab, a [`Listener`]. Out: a daemon that is listening, or connected to the sockets it should serve.
//!
//! Invariant: a daemon that is dropped is gone.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Hash, Packages};
use crate::error::{Doing, LabError, Result};
use crate::lab::Lab;

/// Where it looks for guests' sockets, inside a lab.
pub const SOCKETS: &str = "/run/fence-virt";

/// It looks for new domains once a second.
const LISTENS: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a fence_virtd listens to.
#[derive(Debug, Clone)]
pub enum Listener {
    /// Serial ports whose sockets are in [`SOCKETS`]; so many are waited for.
    Serial(usize),
    /// Channels whose sockets are in [`SOCKETS`]; so many are waited for.
    Channels(usize),
    /// Multicast on one interface.
    Multicast {
        /// The group, which also says the family.
        group: IpAddr,
        /// The interface.
        interface: &'static str,
        /// Signatures.
        hash: Hash,
    },
    /// TCP.
    Tcp {
        /// The address to listen on.
        address: IpAddr,
        /// Signatures.
        hash: Hash,
    },
}

/// A running fence_virtd.
#[derive(Debug)]
pub struct Daemon {
    process: Child,
}

impl Daemon {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// When it ends, or does not listen in time.
    pub fn start(lab: &Lab, listener: &Listener, key: &Path) -> Result<Self> {
        let packages = Packages::get()?;
        let file = lab.directory().join(format!("fence-virt-{}.conf", listener.name()));
        fs::write(&file, settings(listener, &packages.modules(), key))
            .doing("write fence_virtd's settings")?;
        let mut command = lab.command(packages.daemon());
        command.arg("-F").arg("-f").arg(&file);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut started = Self { process: process.doing("start fence_virtd")? };
        started.wait_until_it_listens(listener)?;
        Ok(started)
    }

    fn wait_until_it_listens(&mut self, listener: &Listener) -> Result<()> {
        let deadline = Instant::now() + LISTENS;
        while !listener.is_there(self.process.id()) {
            let ended = self.process.try_wait().doing("look at fence_virtd")?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(LabError::Ended {
                    who: "fence_virtd".into(),
                    awaited: format!("its listener {listener:?}"),
                    last_seen: format!("{ended:?}"),
                });
            }
            sleep(LOOK_AGAIN); // it tells nobody when it is ready
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Listener {
    fn name(&self) -> &'static str {
        match self {
            Self::Serial(_) => "serial",
            Self::Channels(_) => "vmchannel",
            Self::Multicast { .. } => "multicast",
            Self::Tcp { .. } => "tcp",
        }
    }

    /// As the kernel shows the sockets of the daemon's network: a bound port, or connected sockets.
    fn is_there(&self, pid: u32) -> bool {
        const PORT: &str = ":04CD "; // 1229
        const CONNECTED: &str = " 03 ";
        let any = |table: &str, parts: [&str; 2]| {
            let lines = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
            lines.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
        };
        match self {
            Self::Serial(count) | Self::Channels(count) => any("unix", [SOCKETS, CONNECTED]) >= *count,
            Self::Multicast { group: IpAddr::V4(_), .. } => any("udp", [PORT, ""]) > 0,
            Self::Multicast { group: IpAddr::V6(_), .. } => any("udp6", [PORT, ""]) > 0,
            Self::Tcp { address: IpAddr::V4(_), .. } => any("tcp", [PORT, " 0A "]) > 0,
            Self::Tcp { address: IpAddr::V6(_), .. } => any("tcp6", [PORT, " 0A "]) > 0,
        }
    }
}

/// The directory for guests' sockets, for QEMU's user to write in.
///
/// # Errors
/// When it cannot be made.
pub fn make_directory(lab: &Lab) -> Result<PathBuf> {
    let directory = lab.path(SOCKETS);
    fs::create_dir_all(&directory).doing("make fence_virtd's directory")?;
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(&directory, open).doing("open fence_virtd's directory to QEMU")?;
    Ok(directory)
}

fn settings(listener: &Listener, modules: &Path, key: &Path) -> String {
    let (key, modules) = (key.display(), modules.display());
    let family = |address: &IpAddr| if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let (name, own) = match listener {
        Listener::Serial(_) => ("serial", format!("path = \"{SOCKETS}\"; mode = \"serial\";")),
        Listener::Channels(_) => ("serial", format!("path = \"{SOCKETS}\"; mode = \"vmchannel\";")),
        Listener::Multicast { group, interface, hash } => {
            let (family, hash) = (family(group), hash.word());
            let own = format!(
                "family = \"{family}\"; address = \"{group}\"; interface = \"{interface}\"; \
                 hash = \"{hash}\"; auth = \"{hash}\";"
            );
            ("multicast", own)
        }
        Listener::Tcp { address, hash } => {
            let (family, hash) = (family(address), hash.word());
            let own = format!(
                "family = \"{family}\"; address = \"{address}\"; hash = \"{hash}\"; auth = \"{hash}\";"
            );
            ("tcp", own)
        }
    };
    format!(
        "fence_virtd {{ listener = \"{name}\"; backend = \"libvirt\"; module_path = \"{modules}\"; }}\n\
         listeners {{ {name} {{ {own} key_file = \"{key}\"; uri = \"qemu:///system\"; }} }}\n\
         backends {{ libvirt {{ uri = \"qemu:///system\"; }} }}\n"
    )
}
