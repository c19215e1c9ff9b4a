//! Which of a domain's ports are ours to serve.
//!
//! In:  ports as written. Out: channels, and what was not taken and why.
//!
//! Invariant: the agent makes a socket only directly in its own directory and only under the domain's own UUID, so no
//! domain's XML can make it listen elsewhere or in another domain's place.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::PORT_NAME;
use super::reader::WrittenPort;
use crate::domain::{ChannelSpec, Mode, Port};

pub(super) fn ours(
    written: &[WrittenPort],
    uuid: Uuid,
    guests_dir: &Path,
    problems: &mut Vec<String>,
) -> Vec<ChannelSpec> {
    let mut taken: Vec<ChannelSpec> = Vec::new();
    for port in written.iter().filter(|port| port.is_unix) {
        match channel(port, uuid, guests_dir) {
            Ok(Some(spec)) if !taken.iter().any(|other| other.path == spec.path) => taken.push(spec),
            Ok(_) => {} // a console is the serial port once more
            Err(problem) if problems.contains(&problem) => {}
            Err(problem) => problems.push(problem),
        }
    }
    taken
}

fn channel(written: &WrittenPort, uuid: Uuid, guests_dir: &Path) -> Result<Option<ChannelSpec>, String> {
    let Some(path) = written.path.as_deref().map(PathBuf::from) else { return Ok(None) };
    let in_our_directory = path.parent() == Some(guests_dir) && path.file_name().is_some();
    let Some(port) = kind(written, in_our_directory) else { return Ok(None) };
    let mode = match written.mode.as_deref() {
        Some("connect") => Mode::Connect,
        Some("bind") | None => Mode::Bind, // libvirt's default
        Some(_) => return Ok(None),
    };
    if in_our_directory && !is_of_domain(&path, uuid) {
        return Err(format!("its channel {path:?} is not its own: use {}", own_path(uuid, guests_dir)));
    }
    if mode == Mode::Connect && !in_our_directory {
        return Err(format!(
            "its channel {path:?} is not in our directory: use {}",
            own_path(uuid, guests_dir)
        ));
    }
    Ok(path.is_absolute().then_some(ChannelSpec { port, mode, path: path.into() }))
}

/// A virtio port is ours by its name; a serial port by where its socket is, and so is an address that QEMU forwards for guests of
/// fence_virt (`guestfwd`), which is a stream without a name too.
fn kind(written: &WrittenPort, in_our_directory: bool) -> Option<Port> {
    let is_virtio = written.target_type.as_deref() == Some("virtio");
    let is_guestfwd = written.target_type.as_deref() == Some("guestfwd");
    match written.is_channel {
        true if is_virtio && written.target_name.as_deref() == Some(PORT_NAME) => Some(Port::Virtio),
        true if in_our_directory && is_guestfwd => Some(Port::Serial),
        false if in_our_directory && !is_virtio => Some(Port::Serial),
        true | false => None,
    }
}

/// `UUID.sock`, or the UUID, a hyphen, and anything.
fn is_of_domain(path: &Path, uuid: Uuid) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(&uuid.to_string()).is_some_and(|rest| rest == ".sock" || rest.starts_with('-'))
}

fn own_path(uuid: Uuid, guests_dir: &Path) -> String {
    guests_dir.join(format!("{uuid}.sock")).display().to_string()
}
