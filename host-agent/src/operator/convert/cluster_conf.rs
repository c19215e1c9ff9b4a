//! `cluster.conf` of the guests, or some lines of it: which machines are one cluster, and what its nodes call them.
//!
//! In:  the XML. Out: [`Before`]'s clusters and nodes, remarks.
//!
//! Invariant: it says which machines belong together; that they may fence each other is for the administrator to say.

use std::collections::HashMap;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::before::{Before, Entry, Group};
use super::finding::{Kind, Remarks};
use super::{network, xvmd};

/// The agents that this program's predecessors answered to.
const AGENTS: [&str; 2] = ["fence_xvm", "fence_virt"];

/// Attributes of a device that belong to the way there, which is another one now.
const OF_THE_WAY: [&str; 12] = [
    "key_file",
    "auth",
    "hash",
    "ip_family",
    "multicast_address",
    "multicast_interface",
    "ipport",
    "ipaddr",
    "retrans",
    "serial_device",
    "serial_params",
    "channel_address",
];

/// Why the text could not be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {text}; give the file, or whole elements of it")]
pub struct NotXml {
    line: usize,
    text: String,
}

#[derive(Default)]
struct Device {
    agent: String,
    machine: Option<String>,
    delay: Option<String>,
}

#[derive(Default)]
struct Walk {
    cluster: Option<String>,
    node: Option<String>,
    devices: HashMap<String, Device>,
    /// Node, device, machine, delay and line.
    uses: Vec<(Option<String>, String, Device, usize)>,
}

/// Reads the file or its lines.
pub(super) fn read(xml: &str, before: &mut Before, remarks: &mut Remarks) -> Result<(), NotXml> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_end_names = false; // it may be some lines only
    reader.config_mut().allow_unmatched_ends = true;
    let mut walk = Walk::default();
    loop {
        let line = line_at(xml, reader.buffer_position());
        let not_xml = |error: quick_xml::Error| NotXml { line, text: error.to_string() };
        match reader.read_event().map_err(not_xml)? {
            Event::Start(element) | Event::Empty(element) => {
                let line = line_at(xml, reader.buffer_position());
                let attributes = attributes(&element).map_err(|text| NotXml { line, text })?;
                walk.element(element.local_name().as_ref(), &attributes, line, before, remarks);
            }
            Event::Eof => break,
            Event::End(_) | Event::Text(_) | Event::CData(_) | Event::Comment(_) => {}
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::GeneralRef(_) => {}
        }
    }
    walk.finish(before, remarks);
    Ok(())
}

type Attributes = Vec<(String, String)>;

fn attributes(element: &BytesStart<'_>) -> Result<Attributes, String> {
    let each = element.attributes().map(|attribute| {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
        Ok((attribute.key.as_ref().to_owned(), value.into_owned()))
    });
    each.collect()
}

fn line_at(xml: &str, position: u64) -> usize {
    let position = usize::try_from(position).unwrap_or(usize::MAX).min(xml.len());
    1 + xml.bytes().take(position).filter(|&byte| byte == b'\n').count()
}

fn get(attributes: &Attributes, keys: &[&str]) -> Option<String> {
    keys.iter()
        .find_map(|key| attributes.iter().find(|(name, _)| name == key))
        .map(|(_, value)| value.clone())
}

impl Walk {
    fn element(
        &mut self,
        tag: &str,
        attributes: &Attributes,
        line: usize,
        before: &mut Before,
        remarks: &mut Remarks,
    ) {
        let device = || Device {
            agent: get(attributes, &["agent"]).unwrap_or_default(),
            machine: get(attributes, &["domain", "plug", "port"]),
            delay: get(attributes, &["delay"]),
        };
        match tag {
            "cluster" => self.cluster = get(attributes, &["name"]),
            "clusternode" => self.node = get(attributes, &["name"]),
            "fencedevice" => {
                let (name, device) = (get(attributes, &["name"]).unwrap_or_default(), device());
                self.device(attributes, &device, line, remarks);
                self.devices.insert(name, device);
            }
            "device" => {
                let name = get(attributes, &["name"]).unwrap_or_default();
                self.uses.push((self.node.clone(), name, device(), line));
            }
            "fence_xvmd" => {
                let rename = |key: &str| match key {
                    "ip_family" => Some("family"),
                    "multicast_address" => Some("address"),
                    "multicast_interface" => Some("interface"),
                    "port" | "ipport" => Some("port"),
                    "auth" => Some("auth"),
                    "hash" => Some("hash"),
                    "key_file" => Some("key_file"),
                    "uri" => Some("uri"),
                    _ => None,
                };
                let settings: Vec<network::Written<'_>> =
                    attributes.iter().filter_map(|(k, v)| Some((rename(k)?, v.as_str(), line))).collect();
                xvmd::take(&settings, line, before, remarks);
            }
            _ => {}
        }
    }

    fn device(&self, attributes: &Attributes, device: &Device, line: usize, remarks: &mut Remarks) {
        if !AGENTS.contains(&device.agent.as_str()) {
            let text = format!("fence device of the agent {:?}: it stays as it is", device.agent);
            return remarks.say(line, Kind::NotNeeded, text);
        }
        remarks.say(
            line,
            Kind::Converted,
            format!("fence device of {}: see the command for the guests below", device.agent),
        );
        for (key, value) in attributes {
            let key = key.as_str();
            if OF_THE_WAY.contains(&key) {
                remarks.say(line, Kind::NotNeeded, format!("{key}={value}: a channel needs none"));
            } else if !["agent", "name", "domain", "plug", "port", "delay", "use_uuid", "timeout"]
                .contains(&key)
            {
                remarks.say(
                    line,
                    Kind::NotConverted,
                    format!("{key}={value}: give it to the new fence device by hand if it matters"),
                );
            } else if key == "timeout" {
                let text = format!(
                    "timeout={value}: fence_vmchannel waits 55 s by itself; see \"The timeouts\" in operations.md"
                );
                remarks.say(line, Kind::NotConverted, text);
            }
        }
    }

    fn finish(self, before: &mut Before, remarks: &mut Remarks) {
        let name = self.cluster.unwrap_or_else(|| "cluster.conf".to_owned());
        let mut members: Vec<Entry> = Vec::new();
        for (node, device_name, device, line) in self.uses {
            let Some(defined) = self.devices.get(&device_name) else {
                remarks.say(
                    line,
                    Kind::NotConverted,
                    format!("there is no fencedevice {device_name:?} here"),
                );
                continue;
            };
            if !AGENTS.contains(&defined.agent.as_str()) {
                continue;
            }
            let node = node.unwrap_or_default();
            let Some(machine) = device.machine.or_else(|| defined.machine.clone()) else {
                remarks.say(line, Kind::NotConverted, format!("node {node:?}: no domain is named"));
                continue;
            };
            remarks.say(line, Kind::Converted, format!("node {node:?} is the machine {machine:?}"));
            if let Some(delay) = device.delay.or_else(|| defined.delay.clone()) {
                remarks.say(line, Kind::Converted, format!("delay {delay} of that node"));
                before.delays.push((node.clone(), delay));
            }
            if !members.iter().any(|member| member.text == machine) {
                members.push(Entry { text: machine.clone(), place: remarks.place(line) });
            }
            before.nodes.push((node, machine));
        }
        if before.nodes.is_empty() {
            for machine in self
                .devices
                .into_values()
                .filter(|d| AGENTS.contains(&d.agent.as_str()))
                .filter_map(|d| d.machine)
            {
                members.push(Entry { text: machine, place: remarks.place(0) });
            }
            members.sort_by(|a, b| a.text.cmp(&b.text));
        }
        if members.is_empty() {
            return remarks.say(
                0,
                Kind::NotConverted,
                "no machine is named in it by a device of fence_xvm or fence_virt",
            );
        }
        before.clusters.push(Group { name, place: remarks.place(0), members, addresses: Vec::new() });
    }
}
