//! A domain's XML, as the agent reads it.
//!
//! Properties: UUID, name and cluster label are those that another parser finds at their places; a label is one only if it
//! is the only one; each channel is written so; the agent never listens but directly in its own directory and under the
//! domain's own UUID; no channel twice; a channel as `channel add` writes it is always taken.

use std::path::Path;

use fence_vmchannel_host_agent::domain::{ChannelSpec, Mode, Port};
use fence_vmchannel_host_agent::domain_xml::{DomainXml, PORT_NAME, parse};

use crate::oracle::xml::{self, Written};

/// Where the agent's sockets are.
pub(crate) const GUESTS: &str = "/run/fence-vmchannel/guests";

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(read) = parse(text, Path::new(GUESTS)) else { return };

    for (at, channel) in read.channels.iter().enumerate() {
        stays_in_its_place(channel, &read);
        assert!(read.channels.iter().skip(at + 1).all(|other| other.path != channel.path), "twice");
    }
    let label = read.cluster.as_deref().unwrap_or("x");
    assert!((1..=128).contains(&label.len()) && !label.chars().any(char::is_control), "{label:?}");
    assert!(!read.name.as_str().chars().any(char::is_control));
    if let Some(written) = xml::read(text) {
        is_as_written(&read, &written);
    }
}

fn stays_in_its_place(channel: &ChannelSpec, domain: &DomainXml) {
    let path = &channel.path;
    assert!(path.is_absolute(), "{path:?}");
    if channel.mode == Mode::Connect || path.starts_with(GUESTS) && path.parent() == Some(Path::new(GUESTS)) {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = file.strip_prefix(&domain.uuid.to_string());
        assert_eq!(path.parent(), Some(Path::new(GUESTS)), "{path:?}");
        assert!(rest.is_some_and(|rest| rest == ".sock" || rest.starts_with('-')), "{path:?}");
    }
}

fn is_as_written(read: &DomainXml, written: &Written) {
    assert_eq!(written.uuid.trim().parse(), Ok(read.uuid));
    assert_eq!(written.name, read.name.as_str());
    let only = match written.labels.as_slice() {
        [Some(label)] => Some(label.as_str()),
        _ => None,
    };
    assert!(read.cluster.is_none() || read.cluster.as_deref() == only, "{:?} of {only:?}", read.cluster);
    if let Some(label) = only.filter(|label| label.len() <= 128 && !label.is_empty()) {
        assert!(read.cluster.is_some() || label.chars().any(char::is_control), "{label:?} is lost");
    }
    for channel in &read.channels {
        assert!(written.ports.iter().any(|port| is_written(channel, port)), "{channel:?}: {written:?}");
    }
    for port in &written.ports {
        let path = format!("{GUESTS}/{}.sock", read.uuid);
        let ours = port.element == "channel"
            && port.target_type.as_deref() == Some("virtio")
            && port.target_name.as_deref() == Some(PORT_NAME)
            && matches!(port.mode.as_deref(), Some("connect" | "bind") | None)
            && port.path.as_deref() == Some(&path);
        let taken = read.channels.iter().any(|channel| *channel.path == *Path::new(&path));
        assert!(taken || !ours, "{port:?} is ours and was not taken: {:?}", read.problems);
    }
}

fn is_written(channel: &ChannelSpec, port: &xml::Port) -> bool {
    let kind = match channel.port {
        Port::Virtio => port.element == "channel" && port.target_name.as_deref() == Some(PORT_NAME),
        Port::Serial => port.element != "channel",
    };
    let mode = match channel.mode {
        Mode::Connect => port.mode.as_deref() == Some("connect"),
        Mode::Bind => port.mode.as_deref().is_none_or(|mode| mode == "bind"),
    };
    kind && mode && port.path.as_deref().map(Path::new) == Some(&channel.path)
}
