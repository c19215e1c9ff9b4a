//! The guests' kernel: Debian's cloud kernel, fetched once and unpacked into the cache, never installed.
//!
//! In:  apt's package lists.
//! Out: a directory with `vmlinuz` and the modules that a virtio console needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Doing, LabError, Result};
use crate::programs::succeed;

/// The modules, as `guest/init` loads them.
pub(super) const MODULES: [&str; 6] = [
    "virtio_ring.ko",
    "virtio.ko",
    "virtio_pci_legacy_dev.ko",
    "virtio_pci_modern_dev.ko",
    "virtio_pci.ko",
    "virtio_console.ko",
];

/// Modules that only some guests load: in this order for a network, for virtual sockets within the guest.
pub const NETWORK: [&str; 3] = ["failover.ko", "net_failover.ko", "virtio_net.ko"];
/// Virtual sockets (AF_VSOCK), from the guest to itself.
pub const VSOCK: [&str; 3] = ["vsock.ko", "vmw_vsock_virtio_transport_common.ko", "vsock_loopback.ko"];

/// Depends on the kernel package of the day.
const METAPACKAGE: &str = "linux-image-cloud-amd64";

/// The directory of the kernel in `cache`, fetched when it is not there. Remove it to get a newer kernel.
pub(super) fn get(cache: &Path) -> Result<PathBuf> {
    let place = cache.join("kernel");
    let wanted = || MODULES.iter().chain(&NETWORK).chain(&VSOCK);
    if wanted().chain(&["vmlinuz"]).all(|file| place.join(file).exists()) {
        return Ok(place);
    }
    let work = cache.join("kernel.new");
    fs::remove_dir_all(&work).ok();
    fs::create_dir_all(&work).doing(format!("make {}", work.display()))?;
    if fetch(&work).is_err() {
        succeed(Command::new("apt-get").args(["-qq", "update"]))?; // the lists name a package that was replaced
        fetch(&work)?;
    }
    let archive = find(&work, ".deb")?;
    let unpacked = work.join("unpacked");
    succeed(Command::new("dpkg-deb").arg("-x").args([&archive, &unpacked]))?;
    move_into(&work, "vmlinuz", &find(&unpacked.join("boot"), "vmlinuz-")?)?;
    for module in wanted() {
        move_into(&work, module, &find(&unpacked, module)?)?;
    }
    fs::remove_dir_all(&unpacked).doing("remove the unpacked package")?;
    fs::remove_file(&archive).doing("remove the fetched package")?;
    fs::remove_dir_all(&place).ok(); // one with fewer modules
    fs::rename(&work, &place).doing("put the kernel in its place")?;
    Ok(place)
}

fn fetch(work: &Path) -> Result<()> {
    let package = name_of_the_day()?;
    let mut apt = Command::new("apt-get");
    apt.args(["-o", "APT::Sandbox::User=root", "download", &package]).current_dir(work);
    succeed(&mut apt).map(drop)
}

fn name_of_the_day() -> Result<String> {
    let depends = succeed(Command::new("apt-cache").args(["depends", METAPACKAGE]))?;
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .map(str::to_owned)
        .ok_or_else(|| missing(METAPACKAGE))
}

fn find(directory: &Path, part: &str) -> Result<PathBuf> {
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).doing(format!("list {}", directory.display()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if name == part || (!part.ends_with(".ko") && name.contains(part)) {
                return Ok(path);
            }
        }
    }
    Err(missing(part))
}

fn move_into(directory: &Path, name: &str, file: &Path) -> Result<()> {
    fs::rename(file, directory.join(name)).doing(format!("keep {}", file.display()))
}

fn missing(what: &str) -> LabError {
    LabError::Missing {
        what: format!("{what} of Debian's cloud kernel"),
        remedy: "run `apt-get update`, and check that the machine's Debian mirror is reachable".into(),
    }
}
