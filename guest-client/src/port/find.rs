//! Which device is the channel?
//!
//! In:  `--device`, the kernel's directories. Out: a device's path.
//!
//! Invariant: without being told, only a virtio port that bears our name is taken; a serial port never.

use std::fs;
use std::path::{Path, PathBuf};

use fence_vmchannel_protocol::PORT_NAME;

use super::PortError;

/// Where a broker listens.
pub(crate) const BROKER: &str = "/run/fence-vmchannel/broker.sock";

/// Where the kernel shows its devices, and a broker its socket.
#[derive(Debug, Clone)]
pub struct Places {
    /// Where the device nodes are.
    pub dev: PathBuf,
    /// Where sysfs lists the virtio ports.
    pub sys_ports: PathBuf,
    /// Where the broker listens, if there is one.
    pub broker: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { dev: "/dev".into(), sys_ports: "/sys/class/virtio-ports".into(), broker: BROKER.into() }
    }
}

/// The device of the channel: the one that was named, else udev's link, else what sysfs says (without udev).
///
/// # Errors
/// [`PortError::NotFound`], or [`PortError::Missing`] where the named one does not exist.
pub fn find(named: Option<&Path>, places: &Places) -> Result<PathBuf, PortError> {
    if let Some(device) = named {
        let missing = || PortError::Missing { device: device.to_owned() };
        return if device.exists() { Ok(device.to_owned()) } else { Err(missing()) };
    }
    let link = places.dev.join("virtio-ports").join(PORT_NAME);
    if link.exists() {
        return Ok(link);
    }
    let ports = fs::read_dir(&places.sys_ports).into_iter().flatten().flatten();
    let ours = ports.map(|entry| entry.path()).find(|port| has_our_name(port));
    let node = ours.and_then(|port| Some(places.dev.join(port.file_name()?)));
    node.filter(|node| node.exists()).ok_or(PortError::NotFound)
}

fn has_our_name(port: &Path) -> bool {
    fs::read_to_string(port.join("name")).is_ok_and(|name| name.trim_end() == PORT_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(root: &Path) -> Places {
        let broker = root.join("broker.sock");
        let places = Places { dev: root.join("dev"), sys_ports: root.join("sys"), broker };
        for (port, name) in [("vport1p1", "org.qemu.guest_agent.0"), ("vport1p2", PORT_NAME)] {
            fs::create_dir_all(places.sys_ports.join(port)).unwrap();
            fs::write(places.sys_ports.join(port).join("name"), format!("{name}\n")).unwrap();
        }
        fs::create_dir_all(places.dev.join("virtio-ports")).unwrap();
        places
    }

    #[test]
    fn the_named_device_wins() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let named = root.path().join("ttyS1");
        fs::write(&named, "").unwrap();
        fs::write(places.dev.join("virtio-ports").join(PORT_NAME), "").unwrap();

        assert_eq!(find(Some(&named), &places).unwrap(), named);
    }

    #[test]
    fn udev_s_link_is_found() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let link = places.dev.join("virtio-ports").join(PORT_NAME);
        fs::write(&link, "").unwrap();

        assert_eq!(find(None, &places).unwrap(), link);
    }

    #[test]
    fn without_udev_the_port_s_name_in_sysfs_tells() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        fs::write(places.dev.join("vport1p1"), "").unwrap();
        fs::write(places.dev.join("vport1p2"), "").unwrap();

        assert_eq!(find(None, &places).unwrap(), places.dev.join("vport1p2"));
    }

    #[test]
    fn other_ports_are_never_taken() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        fs::remove_dir_all(places.sys_ports.join("vport1p2")).unwrap();
        fs::write(places.dev.join("vport1p1"), "").unwrap();
        fs::write(places.dev.join("ttyS1"), "").unwrap();

        assert!(matches!(find(None, &places), Err(PortError::NotFound)));
    }

    #[test]
    fn a_named_device_that_does_not_exist_is_told() {
        let root = tempfile::tempdir().unwrap();
        let error = find(Some(&root.path().join("none")), &places(root.path())).unwrap_err();

        assert!(matches!(error, PortError::Missing { .. }));
    }
}
