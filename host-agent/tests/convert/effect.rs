//! Who may fence whom afterwards, by the real policy.

use std::collections::HashMap;

use fence_vmchannel_host_agent::operator::convert::ConvertReport;
use fence_vmchannel_host_agent::operator::report::tell;
use fence_vmchannel_host_agent::policy::{Action, Loaded, Policy};
use serde_json::Value;

use crate::world::{Inhabitant, WORLD};

/// The new rules, and the labels that the commands give.
pub(crate) struct After {
    policy: Policy,
    labels: HashMap<&'static str, String>,
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
        Self { policy, labels: labels(&report) }
    }

    pub(crate) fn label(&self, who: &Inhabitant) -> Option<String> {
        self.labels.get(who.name).cloned()
    }

    /// Whether all actions are allowed; some and not others would be a fault.
    pub(crate) fn allows(&self, asker: &Inhabitant, target: &Inhabitant) -> bool {
        let (asker, target) = (asker.domain(self.label(asker)), target.domain(self.label(target)));
        let allowed = Action::ALL.map(|action| self.policy.decide(&asker, action, &target).allowed);
        assert!(allowed.iter().all(|each| *each == allowed[0]));
        allowed[0]
    }
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
