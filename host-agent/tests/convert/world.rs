//! The machines that all samples are about.

use fence_vmchannel_host_agent::domain::{Domain, Standing};
use fence_vmchannel_host_agent::operator::convert::Machine;
use uuid::Uuid;

/// One machine, with the address and the context id that it has.
pub(crate) struct Inhabitant {
    pub(crate) name: &'static str,
    pub(crate) uuid: &'static str,
    pub(crate) ip: &'static str,
    pub(crate) cid: &'static str,
}

const fn inhabitant(
    name: &'static str,
    uuid: &'static str,
    ip: &'static str,
    cid: &'static str,
) -> Inhabitant {
    Inhabitant { name, uuid, ip, cid }
}

pub(crate) const WORLD: [Inhabitant; 4] = [
    inhabitant("web1", "44179d3f-6c63-474f-a212-20c8b4b25b16", "192.168.1.1", "3"),
    inhabitant("web2", "1ce02c4b-dfa1-42cb-b5b1-f0b1091ece60", "192.168.1.2", "4"),
    inhabitant("db1", "5d3c8f0a-1f4e-4c1a-9f1c-0d2a6a5c7e01", "192.168.1.3", "5"),
    inhabitant("db2", "9b2a7e44-0c35-4b0e-8a57-6f1d3a2b4c02", "192.168.1.4", "6"),
];

/// As libvirt would tell them.
pub(crate) fn machines() -> Vec<Machine> {
    let uuid = |who: &Inhabitant| Uuid::try_parse(who.uuid).unwrap();
    WORLD.iter().map(|who| Machine { name: who.name.into(), uuid: uuid(who), cluster: None }).collect()
}

impl Inhabitant {
    /// As the agent knows it, with this label.
    pub(crate) fn domain(&self, cluster: Option<String>) -> Domain {
        Domain {
            uuid: Uuid::try_parse(self.uuid).unwrap(),
            name: self.name.parse().unwrap(),
            standing: Standing::Active,
            persistent: true,
            cluster,
            channels: Vec::new(),
            owner: None,
            instance: None,
        }
    }

    pub(crate) fn is_called(&self, word: &str) -> bool {
        word == self.name || word == self.uuid
    }
}
