//! `channel show`: channels and clusters as libvirt knows them.
//!
//! In:  names or UUIDs, or none for all domains. Out: a table. Works without the agent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use super::definition::{Definition, Device};
use super::machine::{Host, within};
use super::plan::Known;
use super::ports::is_ours;
use super::{LibvirtError, PATIENCE};
use crate::config::Config;
use crate::domain::{Mode, Port};
use crate::operator::report::Report;
use crate::operator::table::Table;

/// What `channel show` prints.
#[derive(Debug, Serialize)]
pub struct ShowReport {
    domains: Vec<Shown>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shown {
    name: String,
    uuid: Uuid,
    running: bool,
    persistent: bool,
    cluster: Option<String>,
    cluster_at_next_start: Option<String>,
    channels: Vec<ShownChannel>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ShownChannel {
    port: Option<Port>,
    mode: Option<Mode>,
    when: When,
    path: Option<PathBuf>,
}

/// When a channel is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum When {
    /// Now, and after the next start if the domain is defined.
    Live,
    /// Now, and no more after the domain stops.
    UntilStop,
    /// Only when the domain starts the next time.
    AtNextStart,
}

impl When {
    fn words(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::UntilStop => "until it stops",
            Self::AtNextStart => "at next start",
        }
    }
}

/// The channels of these domains, or of all.
pub fn show(config: &Config, wanted: &[String]) -> Result<ShowReport, LibvirtError> {
    let (config, wanted) = (config.clone(), wanted.to_vec());
    within(PATIENCE, move || {
        let machines = Host::open(&config.libvirt_uri, false)?.machines(&wanted)?;
        Ok(ShowReport { domains: machines.iter().map(|m| shown(&m.known, &config.guests_dir())).collect() })
    })
}

fn shown(known: &Known, guests_dir: &Path) -> Shown {
    let ports = |definition: &Option<Definition>| -> Vec<Device> {
        let devices = definition.iter().flat_map(|definition| &definition.devices);
        devices.filter(|device| is_ours(device, guests_dir)).cloned().collect()
    };
    let (now, next) = (ports(&known.live), ports(&known.persistent));
    let holds = |devices: &[Device], port| devices.iter().any(|device| device.port() == port);
    let channel = |device: &Device, when| ShownChannel {
        port: device.port(),
        mode: device.mode,
        when,
        path: device.path.clone(),
    };
    let live = now.iter().map(|device| match holds(&next, device.port()) {
        true => channel(device, When::Live),
        false => channel(device, When::UntilStop),
    });
    let later = next.iter().filter(|device| !holds(&now, device.port()));
    let label = |definition: &Option<Definition>| definition.as_ref().and_then(|d| d.cluster.clone());
    Shown {
        name: known.name.clone(),
        uuid: known.uuid,
        running: known.live.is_some(),
        persistent: known.persistent.is_some(),
        cluster: known.live.as_ref().map_or_else(|| label(&known.persistent), |live| live.cluster.clone()),
        cluster_at_next_start: label(&known.persistent),
        channels: live.chain(later.map(|device| channel(device, When::AtNextStart))).collect(),
    }
}

impl Report for ShowReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(["NAME", "UUID", "STATE", "CLUSTER", "CHANNEL", "WHEN", "SOCKET"]);
        for domain in &self.domains {
            let state = if domain.running { "running" } else { "off" };
            let mut first = [domain.name.clone(), domain.uuid.to_string(), state.into(), domain.label()];
            for channel in &domain.channels {
                let [name, uuid, state, label] = std::mem::replace(&mut first, [" "; 4].map(str::to_owned));
                let path = channel.path.as_ref().map(|path| path.display().to_string());
                let path = path.unwrap_or_else(|| "(libvirt's choice)".into());
                table.row([name, uuid, state, label, channel.words(), channel.when.words().into(), path]);
            }
            if domain.channels.is_empty() {
                let [name, uuid, state, label] = first;
                table.row([name, uuid, state, label, String::new(), String::new(), String::new()]);
            }
        }
        table.write(out)
    }
}

impl Shown {
    fn label(&self) -> String {
        let (now, next) = (self.cluster.as_deref(), self.cluster_at_next_start.as_deref());
        match now {
            now if self.persistent && now != next => {
                format!("{} ({} at next start)", now.unwrap_or("none"), next.unwrap_or("none"))
            }
            now => now.unwrap_or_default().to_owned(),
        }
    }
}

impl ShownChannel {
    fn words(&self) -> String {
        let port = if self.port == Some(Port::Serial) { "serial" } else { "virtio" };
        match self.mode {
            Some(Mode::Connect) => format!("{port} connect"),
            Some(Mode::Bind) => format!("{port} bind"),
            None => port.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "<devices><channel type='unix'><source mode='connect' path='/g/a.sock'/>\
                           <target type='virtio' name='org.fence_vmchannel.0'/></channel></devices>";
    const LABEL: &str = "<metadata><m:member xmlns:m='urn:fence-vmchannel:1' cluster='web'/></metadata>";

    fn definition(inside: &[&str]) -> Definition {
        Definition::read(&format!("<domain>{}</domain>", inside.concat())).unwrap()
    }

    fn text(persistent: Option<Definition>, live: Option<Definition>) -> String {
        let known = Known { name: "web1".into(), uuid: Uuid::nil(), persistent, live };
        let mut out = Vec::new();
        ShowReport { domains: vec![shown(&known, Path::new("/g"))] }.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let row = text.lines().nth(1).unwrap().replace(&Uuid::nil().to_string(), "UUID");
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_channel_that_runs_and_is_defined_is_live() {
        let both = definition(&[LABEL, CHANNEL]);

        assert_eq!(
            text(Some(both.clone()), Some(both)),
            "web1 UUID running web virtio connect live /g/a.sock"
        );
    }

    #[test]
    fn a_channel_that_is_only_defined_waits_for_the_next_start() {
        let row = text(Some(definition(&[LABEL, CHANNEL])), Some(definition(&[])));

        assert_eq!(row, "web1 UUID running none (web at next start) virtio connect at next start /g/a.sock");
    }

    #[test]
    fn a_domain_without_anything_of_ours_is_shown_with_dashes() {
        assert_eq!(text(Some(definition(&[])), None), "web1 UUID off - - - -");
    }
}
