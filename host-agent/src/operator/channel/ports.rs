//! Our ports: how they look in XML, which are there already, which are in the way.
//!
//! In:  a domain and what the operator wants. Out: XML, or what is there.
//!
//! Invariant: a port that is not ours is never taken for ours.

use std::path::{Path, PathBuf};

use fence_vmchannel_protocol::PORT_NAME;
use quick_xml::escape::escape;

use super::definition::{Definition, Device};
use super::plan::{Known, Refusal, Wish};
use crate::domain::{Mode, Port};

/// A port that is there and will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct There {
    pub(super) mode: Mode,
    pub(super) text: String,
}

/// Whether a device is one of our channels.
pub(super) fn is_ours(device: &Device, guests_dir: &Path) -> bool {
    match device.port() {
        Some(Port::Virtio) => true,
        Some(Port::Serial) => device.path.as_deref().and_then(Path::parent) == Some(guests_dir),
        None => false,
    }
}

/// What is there already and good; a refusal when it is in the way.
pub(super) fn existing(
    known: &Known,
    definition: &Definition,
    wish: &Wish,
) -> Result<Option<There>, Refusal> {
    let same_place = |device: &&Device| match wish.port {
        Port::Virtio => device.port() == Some(Port::Virtio),
        Port::Serial => device.port() == Some(Port::Serial) && device.target_port.as_deref() == Some("1"),
    };
    let Some(device) = definition.devices.iter().find(same_place) else { return Ok(None) };
    let socket =
        device.path.as_ref().map_or_else(|| "a path of libvirt's choice".into(), |p| p.display().to_string());
    let domain = known.name.clone();
    let occupied = |what: String| Err(Refusal::Occupied { domain: known.name.clone(), what });
    if wish.port == Port::Serial && !is_ours(device, &wish.guests_dir) {
        return Err(Refusal::SerialTaken { domain, what: format!("{} {socket}", device.kind) });
    }
    match device.mode {
        _ if device.kind != "unix" => occupied(format!("of type {:?} and not a Unix socket", device.kind)),
        Some(Mode::Connect) if device.path.as_deref() != Some(&own_socket(known, wish)) => {
            occupied(format!("connected to {socket} and not to {}", own_socket(known, wish).display()))
        }
        Some(mode) if wish.mode == Mode::Bind && mode == Mode::Connect => {
            occupied("in connect mode and not in bind mode".into())
        }
        Some(Mode::Bind) => {
            Ok(Some(There { mode: Mode::Bind, text: format!("already there (bind, {socket})") }))
        }
        Some(Mode::Connect) | None => {
            Ok(Some(There { mode: Mode::Connect, text: format!("already there ({socket})") }))
        }
    }
}

/// The device as libvirt is given it.
pub(super) fn device_xml(known: &Known, wish: &Wish) -> String {
    let path = escape(own_socket(known, wish).display().to_string()).into_owned();
    let source = match (wish.port, wish.mode) {
        (_, Mode::Connect) => {
            format!("<source mode='connect' path='{path}'><reconnect enabled='yes' timeout='1'/></source>")
        }
        (Port::Virtio, Mode::Bind) => "<source mode='bind'/>".to_owned(),
        (Port::Serial, Mode::Bind) => format!("<source mode='bind' path='{path}'/>"),
    };
    match wish.port {
        Port::Virtio => {
            format!("<channel type='unix'>{source}<target type='virtio' name='{PORT_NAME}'/></channel>")
        }
        Port::Serial => format!("<serial type='unix'>{source}<target port='1'/></serial>"),
    }
}

/// Where the agent listens for this domain.
pub(super) fn own_socket(known: &Known, wish: &Wish) -> PathBuf {
    let suffix = match wish.port {
        Port::Virtio => ".sock",
        Port::Serial => "-serial1.sock",
    };
    wish.guests_dir.join(format!("{}{suffix}", known.uuid))
}
