//! What a domain's XML says of ports and of the cluster.
//!
//! In:  the XML of a domain, as libvirt writes it. Out: [`Definition`].
//!
//! Invariant: only `<domain><devices>` and our namespace in `<domain><metadata>` count. Each device keeps its own XML, so
//! that libvirt finds exactly that device again when it is to be taken away.

use std::path::PathBuf;

use fence_vmchannel_protocol::{METADATA_NAMESPACE, PORT_NAME};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use crate::domain::{Mode, Port};

/// The parts of a definition that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Definition {
    /// The label in our metadata.
    pub(super) cluster: Option<String>,
    /// Whether there is a controller for virtio ports.
    pub(super) has_virtio_serial: bool,
    /// Channels and serial ports.
    pub(super) devices: Vec<Device>,
}

/// A channel or serial port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Device {
    /// `channel` or `serial`.
    pub(super) element: String,
    /// `unix`, `pty`, `spicevmc` ...
    pub(super) kind: String,
    /// Who listens, where the source says so.
    pub(super) mode: Option<Mode>,
    /// The socket, where the source says so.
    pub(super) path: Option<PathBuf>,
    /// The name of a virtio port.
    pub(super) target_name: Option<String>,
    /// The number of a serial port.
    pub(super) target_port: Option<String>,
    /// The device as it was written.
    pub(super) xml: String,
}

impl Device {
    /// How it reaches the guest: a virtio port with our name, or a serial port.
    pub(super) fn port(&self) -> Option<Port> {
        match self.element.as_str() {
            "channel" if self.target_name.as_deref() == Some(PORT_NAME) => Some(Port::Virtio),
            "serial" => Some(Port::Serial),
            _ => None,
        }
    }
}

impl Definition {
    /// Reads a domain's XML; the error says what is wrong with it.
    pub(super) fn read(xml: &str) -> Result<Self, String> {
        let mut reading = Reading::default();
        let mut reader = NsReader::from_str(xml);
        loop {
            let before = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            let (namespace, event) = reader.read_resolved_event().map_err(|error| error.to_string())?;
            let ours =
                matches!(namespace, ResolveResult::Bound(namespace) if namespace.0 == METADATA_NAMESPACE);
            let empty = matches!(event, Event::Empty(_));
            match event {
                Event::Start(element) | Event::Empty(element) => {
                    reading.enter(&element, ours, before);
                    if empty {
                        reading.leave(xml, usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX));
                    }
                }
                Event::End(_) => {
                    reading.leave(xml, usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX));
                }
                Event::Eof => return Ok(reading.found),
                Event::Text(_)
                | Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_)
                | Event::GeneralRef(_) => {}
            }
        }
    }
}

#[derive(Default)]
struct Reading {
    path: Vec<String>,
    device: Device,
    device_start: usize,
    found: Definition,
}

impl Reading {
    fn enter(&mut self, element: &BytesStart<'_>, ours: bool, before: usize) {
        self.path.push(element.local_name().as_ref().to_owned());
        match self.place().as_slice() {
            ["domain", "metadata", "member"] if ours => self.found.cluster = attribute(element, "cluster"),
            ["domain", "devices", "controller"] => {
                self.found.has_virtio_serial |=
                    attribute(element, "type").as_deref() == Some("virtio-serial");
            }
            ["domain", "devices", kind @ ("channel" | "serial")] => {
                let kind = (*kind).to_owned();
                let source = attribute(element, "type").unwrap_or_default();
                self.device = Device { element: kind, kind: source, ..Device::default() };
                self.device_start = before;
            }
            ["domain", "devices", "channel" | "serial", "source"] => {
                self.device.mode = attribute(element, "mode").and_then(|mode| match mode.as_str() {
                    "connect" => Some(Mode::Connect),
                    "bind" => Some(Mode::Bind),
                    _ => None,
                });
                self.device.path = attribute(element, "path").map(PathBuf::from);
            }
            ["domain", "devices", "channel" | "serial", "target"] => {
                self.device.target_name = attribute(element, "name");
                self.device.target_port = attribute(element, "port");
            }
            _ => {}
        }
    }

    fn leave(&mut self, xml: &str, after: usize) {
        if let ["domain", "devices", "channel" | "serial"] = self.place().as_slice() {
            let mut device = std::mem::take(&mut self.device);
            device.xml = xml.get(self.device_start..after).unwrap_or_default().to_owned();
            self.found.devices.push(device);
        }
        self.path.pop();
    }

    fn place(&self) -> Vec<&str> {
        self.path.iter().take(5).map(String::as_str).collect()
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).ok()??;
    Some(found.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<domain type='qemu' id='2'>
  <name>web1</name>
  <metadata>
    <member xmlns='urn:somebody-else' cluster='db'/>
    <f:member xmlns:f='urn:fence-vmchannel:1' cluster='a&amp;b'/>
  </metadata>
  <devices>
    <serial type='pty'><target type='isa-serial' port='0'/></serial>
    <controller type='virtio-serial' index='0'/>
    <channel type='unix'>
      <source mode='bind' path='/x/y'/>
      <target type='virtio' name='org.fence_vmchannel.0' state='connected'/>
    </channel>
  </devices>
</domain>";

    #[test]
    fn the_label_is_found_by_its_namespace_whatever_the_prefix() {
        assert_eq!(Definition::read(XML).unwrap().cluster.as_deref(), Some("a&b"));
    }

    #[test]
    fn each_port_is_found_with_its_source_its_target_and_its_own_text() {
        let definition = Definition::read(XML).unwrap();

        let [serial, channel] = definition.devices.as_slice() else { panic!("{definition:?}") };
        assert!(definition.has_virtio_serial);
        assert_eq!(serial.target_port.as_deref(), Some("0"));
        assert_eq!(serial.xml, "<serial type='pty'><target type='isa-serial' port='0'/></serial>");
        assert_eq!((channel.port(), channel.mode), (Some(Port::Virtio), Some(Mode::Bind)));
        assert_eq!(channel.path.as_deref(), Some(std::path::Path::new("/x/y")));
        assert!(
            channel.xml.starts_with("<channel") && channel.xml.ends_with("</channel>"),
            "{}",
            channel.xml
        );
    }

    #[test]
    fn a_channel_inside_the_metadata_is_nothing() {
        let xml = "<domain><metadata><devices><channel type='unix'/></devices></metadata></domain>";

        assert_eq!(Definition::read(xml).unwrap(), Definition::default());
    }

    #[test]
    fn broken_xml_is_an_error() {
        assert!(Definition::read("<domain><devices></domain>").is_err());
    }
}
