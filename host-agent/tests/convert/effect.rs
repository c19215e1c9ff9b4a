//! Who may fence whom afterwards, by the real policy.

use std::collections::HashMap;
use std::path::Path;

use fence_vmchannel_host_agent::config::Config;
use fence_vmchannel_host_agent::domain::Domain;
use fence_vmchannel_host_agent::operator::convert::ConvertReport;
use fence_vmchannel_host_agent::operator::report::tell;
use fence_vmchannel_host_agent::policy::{Action, Loaded, Policy};
use serde_json::Value;
use uuid::Uuid;

use crate::world::{Inhabitant, WORLD};

/// The new rules, and the labels that the commands give.
pub(crate) struct After {
    policy: Policy,
    labels: HashMap<&'static str, String>,
    /// Who may ask over the network: address or CID, and the label or machine that it counts as.
    peers: Vec<(String, Result<String, String>)>,
}

/// The report as programs get it.
pub(crate) fn json(report: &ConvertReport) -> Value {
    let mut out = Vec::new();
    tell(report, true, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// The text of one of the new files.
pub(crate) fn file(report: &Value, name: &str) -> String {
    let files = report["files"].as_array().unwrap();
    let found =
        files.iter().find(|file| file["path"] == name).unwrap_or_else(|| panic!("no {name} in {report}"));
    found["text"].as_str().unwrap().to_owned()
}

impl After {
    pub(crate) fn of(report: &ConvertReport) -> Self {
        let report = json(report);
        let text = file(&report, "policy.d/50-fence_virt.toml");
        let Loaded { policy, problems } = Policy::read([(Ok(text), "policy.toml".into())]);
        assert_eq!(problems, [], "{report}");
        let settings = file(&report, "agent.toml");
        Config::parse(&settings, Path::new("agent.toml")).unwrap();
        Self { policy, labels: labels(&report), peers: peers(&settings.parse().unwrap()) }
    }

    pub(crate) fn label(&self, who: &Inhabitant) -> Option<String> {
        self.labels.get(who.name).cloned()
    }

    /// Whether who asks from this machine's address over the network may do it.
    pub(crate) fn allows_over_the_network(&self, asker: &Inhabitant, target: &Inhabitant) -> bool {
        let peer = self.peers.iter().find(|(whence, _)| whence == asker.ip || whence == asker.cid);
        let source = match peer {
            None => return false,
            Some((_, Ok(label))) => Domain { uuid: Uuid::nil(), ..asker.domain(Some(label.clone())) },
            Some((_, Err(machine))) => {
                let machine = WORLD.iter().find(|who| who.is_called(machine)).unwrap();
                machine.domain(self.label(machine))
            }
        };
        let source = match peer {
            Some((_, Ok(_))) => Domain { name: "somebody outside".parse().unwrap(), ..source },
            _ => source,
        };
        self.policy.decide(&source, Action::Off, &target.domain(self.label(target))).allowed
    }

    /// Whether all actions are allowed; some and not others would be a fault.
    pub(crate) fn allows(&self, asker: &Inhabitant, target: &Inhabitant) -> bool {
        let (asker, target) = (asker.domain(self.label(asker)), target.domain(self.label(target)));
        let allowed = Action::ALL.map(|action| self.policy.decide(&asker, action, &target).allowed);
        assert!(allowed.iter().all(|each| *each == allowed[0]));
        allowed[0]
    }
}

fn peers(settings: &toml::Table) -> Vec<(String, Result<String, String>)> {
    let Some(legacy) = settings.get("legacy") else { return Vec::new() };
    let text = |peer: &toml::Value, key: &str| Some(peer.get(key)?.as_str()?.to_owned());
    let cid = |peer: &toml::Value| peer["cid"].as_integer().unwrap().to_string();
    let whence = |peer: &toml::Value| text(peer, "address").unwrap_or_else(|| cid(peer));
    let peer = |peer: &toml::Value| {
        (whence(peer), text(peer, "cluster").ok_or_else(|| text(peer, "guest").unwrap()))
    };
    legacy["peer"].as_array().unwrap().iter().map(peer).collect()
}

/// The labels that the printed commands give to machines.
fn labels(report: &Value) -> HashMap<&'static str, String> {
    let mut labels = HashMap::new();
    for command in report["commands"].as_array().unwrap() {
        let Some(words) = command.as_str().unwrap().strip_prefix("fence-vmchanneld channel add --cluster ")
        else {
            continue;
        };
        let (label, machines) = match words.strip_prefix('\'') {
            Some(quoted) => quoted.split_once("' ").unwrap(),
            None => words.split_once(' ').unwrap(),
        };
        for who in WORLD.iter().filter(|who| machines.split(' ').any(|word| who.is_called(word))) {
            let before = labels.insert(who.name, label.to_owned());
            assert_eq!(before, None, "{} gets two labels: {report}", who.name);
        }
    }
    labels
}
