//! The lab's own view of the machine: mounts, network and name.
//!
//! In:  the lab's directory.
//! Out: the calling process lives in new mount, network and name (UTS) namespaces where libvirt's directories are the lab's.
//!
//! Invariant: no mount made here is seen outside.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::error::{Doing, Result};
use crate::programs::succeed;

/// In memory, as on every host: on a disk, ten thousand sockets that were deleted a minute ago make new ones slow.
/// Only those inside see what is in it.
pub(super) const RUN: &str = "/run";

/// The other directories of the machine that the lab replaces, with the name of the lab's own one.
pub(super) const ROOMS: [(&str, &str); 4] = [
    ("/etc/libvirt", "etc-libvirt"),
    ("/var/lib/libvirt", "lib-libvirt"),
    ("/var/cache/libvirt", "cache-libvirt"),
    ("/var/log/libvirt", "log-libvirt"),
];

/// QEMU.
pub(crate) const QEMU: &str = "/usr/bin/qemu-system-x86_64";

/// QEMU under a name that is none of QEMU's, in the place of a program that nobody in a lab needs. All labs share the
/// machine's processes: who looks through all of them would take another host's QEMU for one of this host's.
pub(crate) const UNSEEN_QEMU: &str = "/usr/bin/hostid";

/// No cgroups and no per-VM mount namespaces, which would outlive a killed lab; QEMU's log as a plain file.
/// QEMU keeps its own user, so that the ownership of sockets matters as it does on a real host.
const QEMU_CONF: &str = r#"
user = "libvirt-qemu"
group = "libvirt-qemu"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"#;

const LIBVIRTD_CONF: &str = r#"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"#;

/// Moves the calling process, which must have one thread only, into the lab at `directory`.
pub(super) fn move_in(directory: &Path) -> Result<()> {
    for (_, room) in ROOMS {
        let room = directory.join(room);
        fs::create_dir_all(&room).doing(format!("make {}", room.display()))?;
    }
    furnish(directory)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)
        .doing("make the lab's namespaces (are you root?)")?;
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).doing("make the lab's mounts private")?;
    for (place, room) in ROOMS.iter().filter(|(place, _)| Path::new(place).is_dir()) {
        let room = directory.join(room);
        mount(Some(&room), *place, nothing, MsFlags::MS_BIND, nothing)
            .doing(format!("put the lab's own directory on {place}"))?;
    }
    mount(Some("tmpfs"), RUN, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .doing("mount the lab's /run")?;
    fs::create_dir(Path::new(RUN).join("lock")).doing("make the lab's /run/lock")?;
    hide_kvm(directory)?;
    mount(Some(QEMU), UNSEEN_QEMU, nothing, MsFlags::MS_BIND, nothing).doing("give QEMU another name")?;
    succeed(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let name = directory.file_name().unwrap_or_default().to_string_lossy().replace('.', "-");
    succeed(Command::new("hostname").arg(name))?;
    Ok(())
}

/// The lab's guests are emulated everywhere. Where /dev/kvm is there but not for QEMU's user, libvirt would ask QEMU
/// for its capabilities anew ten times for each start (7 s): its probe sees KVM, its check of the probe does not.
fn hide_kvm(directory: &Path) -> Result<()> {
    const KVM: &str = "/dev/kvm";
    if !Path::new(KVM).exists() {
        return Ok(());
    }
    let nothing = None::<&str>;
    let nobody = directory.join("no-kvm");
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o000).open(&nobody);
    made.doing(format!("make {}", nobody.display()))?;
    mount(Some(&nobody), KVM, nothing, MsFlags::MS_BIND, nothing).doing("hide /dev/kvm from the lab")
}

fn furnish(directory: &Path) -> Result<()> {
    // A host of its own, else no other lab's guest could migrate here.
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").doing("make the lab's UUID")?;
    let libvirtd = format!("{LIBVIRTD_CONF}host_uuid = \"{}\"\n", uuid.trim());
    for (name, text) in [("qemu.conf", QEMU_CONF), ("libvirtd.conf", &libvirtd)] {
        let file = directory.join("etc-libvirt").join(name);
        fs::write(&file, text).doing(format!("write {}", file.display()))?;
    }
    for made in ["policy.d", "lib-libvirt/images"] {
        fs::create_dir_all(directory.join(made)).doing(format!("make {made} in the lab"))?;
    }
    Ok(())
}
