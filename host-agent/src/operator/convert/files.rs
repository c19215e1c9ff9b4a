//! The new files' texts.
//!
//! In:  what shall hold. Out: `agent.toml` and `policy.d/50-fence_virt.toml`.
//!
//! Invariant: what is written from the old files is quoted as TOML quotes it, in comments as well.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::after::{After, Rule};
use super::before::Before;
use super::listeners;
use super::machines::Word;
use crate::operator::table::plain;

/// Where the rules are written, below the directory of the settings.
pub(super) const POLICY: &str = "policy.d/50-fence_virt.toml";

/// A new file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NewFile {
    /// Below the directory of the settings.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Both files.
pub(super) fn write(inputs: &str, before: &Before, after: &After) -> Vec<NewFile> {
    let heading = format!("# Made by `fence-vmchanneld convert-config` from {}.\n", plain(inputs));
    let uri = match &before.uri {
        Some(uri) => format!("libvirt-uri = {}\n", quoted(uri)),
        None => "# Every setting has its default.\n".to_owned(),
    };
    vec![
        NewFile {
            path: "agent.toml".into(),
            text: format!("{heading}\n{uri}{}", listeners::part(before, &after.peers)),
        },
        NewFile { path: POLICY.into(), text: format!("{heading}{}", policy(&after.rules)) },
    ]
}

fn policy(rules: &[Rule]) -> String {
    if rules.is_empty() {
        return "\n# No rule: only domains with the same cluster label may act on each other.\n".to_owned();
    }
    let mut names: BTreeMap<String, &[Word]> = BTreeMap::new();
    let mut text = String::new();
    for rule in rules {
        let line = match rule.to.is_empty() {
            true => {
                format!(
                    "\n# {}: everybody, by choice\n[[allow]]\nfrom = [\"*\"]\nto = [\"*\"]\n",
                    plain(&rule.place.to_string())
                )
            }
            false => {
                let name = free_name(&rule.name, |name| names.contains_key(name));
                names.insert(name.clone(), &rule.to);
                let group = quoted(&format!("@{name}"));
                let labels = rule.labels.iter().map(|label| quoted(&format!("cluster:{label}")));
                let from = match is_same(&rule.from, &rule.to) {
                    true => vec![group.clone()],
                    false => rule.from.iter().map(|word| quoted(&word.text)).collect(),
                };
                let from = format!("[{}]", from.into_iter().chain(labels).collect::<Vec<_>>().join(", "));
                format!("\n# {}\n[[allow]]\nfrom = {from}\nto = [{group}]\n", plain(&rule.place.to_string()))
            }
        };
        text.push_str(&line);
    }
    let groups: String =
        names.iter().map(|(name, words)| format!("{} = {}\n", quoted(name), list(words))).collect();
    let groups = if groups.is_empty() { groups } else { format!("\n[groups]\n{groups}") };
    format!("{groups}{text}")
}

/// Whether both mean the same machines, as far as is known.
pub(super) fn is_same(from: &[Word], to: &[Word]) -> bool {
    let within =
        |a: &[Word], b: &[Word]| a.iter().all(|word| b.iter().any(|other| other.machine == word.machine));
    within(from, to) && within(to, from)
}

/// The name, or one with a number where somebody has it already.
pub(super) fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number: u32| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
}

fn list(words: &[Word]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(&word.text)).collect::<Vec<_>>().join(", "))
}

pub(super) fn quoted(text: &str) -> String {
    // In one line always, so that no name can end a comment or a string.
    let escaped = text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => escaped.push(c),
        }
        escaped
    });
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_holds_it_is_read_again_as_it_was() {
        for text in ["web1", "a\"b", "a\\b", "a\nb\u{7f}", "ü # ]", "'''"] {
            let table: toml::Table = toml::from_str(&format!("{0} = {0}\n", quoted(text))).unwrap();
            assert_eq!(table.get(text).and_then(toml::Value::as_str), Some(text));
        }
    }
}
