//! Which machine an entry of a group means.
//!
//! In:  an entry as written, and the machines of this host where libvirt told them. Out: words of a policy.
//!
//! Invariant: an entry never becomes a word that means more than one machine (`*`, `@group`, `cluster:LABEL`).

use fence_vmchannel_protocol::Name;
use uuid::Uuid;

use super::before::Entry;
use super::finding::{Finding, Kind};

/// A machine of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its cluster label.
    pub cluster: Option<String>,
}

/// An entry of the new policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// As it is written in the policy.
    pub(super) text: String,
    /// Its UUID, where the entry is one.
    pub(super) is_uuid: bool,
    /// The same for each word that means the same machine, as far as is known.
    pub(super) machine: String,
    /// How to name the machine to people.
    pub(super) shown: String,
}

/// The machines there are, and what is to be said of entries.
pub(super) struct Registry<'a> {
    pub(super) known: Option<&'a [Machine]>,
    pub(super) findings: Vec<Finding>,
}

impl Registry<'_> {
    /// The words for these entries, each once.
    pub(super) fn words(&mut self, entries: &[Entry]) -> Vec<Word> {
        let mut words: Vec<Word> = Vec::new();
        for word in entries.iter().flat_map(|entry| self.word(entry)).collect::<Vec<_>>() {
            if !words.iter().any(|known| known.text == word.text) {
                words.push(word);
            }
        }
        words
    }

    fn word(&mut self, entry: &Entry) -> Vec<Word> {
        let text = entry.text.as_str();
        let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
        // fence_virtd compares without regard to case.
        let is_meant = |machine: &&Machine| match uuid {
            Some(uuid) => machine.uuid == uuid,
            None => machine.name.eq_ignore_ascii_case(text),
        };
        let meant: Vec<&Machine> = self.known.unwrap_or_default().iter().filter(is_meant).collect();
        let mut say = |kind, text| self.findings.push(Finding { place: entry.place.clone(), kind, text });
        if let Some(uuid) = uuid {
            let name = meant.first().map(|machine| machine.name.clone());
            match &name {
                Some(name) => say(Kind::Converted, format!("machine {uuid} ({name})")),
                None if self.known.is_some() => {
                    say(Kind::Converted, format!("machine {uuid}: it is not on this host now"))
                }
                None => say(Kind::Converted, format!("machine {uuid}")),
            }
            let text = uuid.to_string();
            return vec![Word {
                machine: text.clone(),
                is_uuid: true,
                shown: name.unwrap_or_else(|| text.clone()),
                text,
            }];
        }
        if meant.is_empty() {
            return self.unknown(entry);
        }
        for machine in &meant {
            let how = if machine.name == text {
                ""
            } else {
                ", whose name has other letters: fence_virtd took them for the same"
            };
            say(Kind::Converted, format!("machine {:?} ({}){how}", machine.name, machine.uuid));
        }
        meant.iter().map(|machine| Word::of(machine)).collect()
    }

    /// A name that no machine here has.
    fn unknown(&mut self, entry: &Entry) -> Vec<Word> {
        let text = &entry.text;
        let mut say = |kind, text| self.findings.push(Finding { place: entry.place.clone(), kind, text });
        if means_more(text) {
            let text = format!(
                "{text:?} would mean more than one machine in a policy: write its UUID into the policy by hand"
            );
            say(Kind::NotConverted, text);
            return Vec::new();
        }
        if let Err(error) = text.parse::<Name>() {
            say(Kind::NotConverted, format!("{text:?} can be no machine: {error}"));
            return Vec::new();
        }
        let here = if self.known.is_some() { ": there is none of this name on this host now" } else { "" };
        say(Kind::Converted, format!("machine {text:?}{here}"));
        vec![Word { text: text.clone(), is_uuid: false, machine: text.clone(), shown: text.clone() }]
    }
}

impl Word {
    fn of(machine: &Machine) -> Self {
        let uuid = machine.uuid.to_string();
        let text = if means_more(&machine.name) { uuid.clone() } else { machine.name.clone() };
        Self { text, is_uuid: false, machine: uuid, shown: machine.name.clone() }
    }
}

/// Whether a policy would take the word for several machines.
fn means_more(text: &str) -> bool {
    text == "*" || text.starts_with('@') || text.starts_with("cluster:") || Uuid::try_parse(text).is_ok()
}
