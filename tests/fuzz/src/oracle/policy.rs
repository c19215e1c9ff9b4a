//! What a policy says, read from plain TOML tables: all files at once, no early end.

use toml::{Table, Value};

/// One file's tables, or `None` if it is not one that may be used.
pub(crate) struct File(Option<Table>);

/// Whom a decision is about.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) cluster: Option<String>,
}

const ACTIONS: [&str; 5] = ["status", "list", "off", "on", "reboot"];

impl File {
    /// Reads a file's text. What an empty one said is lost.
    pub(crate) fn read(text: &str) -> Self {
        Self(text.parse::<Table>().ok().filter(|table| !text.trim().is_empty() && is_valid(table)))
    }

    /// Whether it may be used.
    pub(crate) fn is_used(&self) -> bool {
        self.0.is_some()
    }

    /// Every word in it that may name somebody.
    pub(crate) fn words(&self) -> Vec<String> {
        let Some(table) = &self.0 else { return Vec::new() };
        let rules = ["allow", "deny"].into_iter().flat_map(|kind| rules(table, kind));
        let sides = rules.flat_map(|rule| [strings(rule.get("from")), strings(rule.get("to"))].concat());
        sides.flat_map(|word| members(table, &word)).collect()
    }

    fn has(&self, kind: &str, source: &Who, action: &str, target: &Who) -> bool {
        let Some(table) = &self.0 else { return false };
        rules(table, kind).into_iter().any(|rule| {
            let names = |side: &str, who: &Who| {
                let words = strings(rule.get(side));
                words.iter().flat_map(|word| members(table, word)).any(|word| means(&word, who))
            };
            let acts =
                rule.get("actions").is_none() || strings(rule.get("actions")).contains(&action.to_owned());
            acts && names("from", source) && names("to", target)
        })
    }
}

/// Whether these files allow it: no deny, and an allow or one cluster.
pub(crate) fn allows(files: &[File], source: &Who, action: &str, target: &Who) -> bool {
    let any = |kind: &str| files.iter().any(|file| file.has(kind, source, action, target));
    let one_cluster = source.cluster.is_some() && source.cluster == target.cluster;
    !any("deny") && (any("allow") || one_cluster)
}

fn means(word: &str, who: &Who) -> bool {
    match word.strip_prefix("cluster:") {
        Some(label) => who.cluster.as_deref() == Some(label),
        None => word == "*" || word == who.name && !is_uuid(word) || word.to_lowercase() == who.uuid,
    }
}

fn is_uuid(word: &str) -> bool {
    let hyphens = |at: usize| [8, 13, 18, 23].contains(&at);
    let fits = |(at, c): (usize, char)| if hyphens(at) { c == '-' } else { c.is_ascii_hexdigit() };
    word.len() == 36 && word.char_indices().all(fits)
}

/// A group's members, or the word itself.
fn members(table: &Table, word: &str) -> Vec<String> {
    match word.strip_prefix('@') {
        Some(group) => strings(table.get("groups").and_then(|groups| groups.get(group))),
        None => vec![word.to_owned()],
    }
}

fn rules<'a>(table: &'a Table, kind: &str) -> Vec<&'a Table> {
    let rules = table.get(kind).and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(Value::as_table).collect()
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let values = value.and_then(Value::as_array).into_iter().flatten();
    values.filter_map(|value| value.as_str().map(ToOwned::to_owned)).collect()
}

fn is_valid(table: &Table) -> bool {
    let known = |table: &Table, keys: &[&str]| table.keys().all(|key| keys.contains(&key.as_str()));
    let are_strings = |value: &Value| value.as_array().is_some_and(|values| values.iter().all(Value::is_str));
    let groups = table.get("groups").is_none_or(|groups| {
        groups.as_table().is_some_and(|groups| groups.iter().all(|(_, members)| are_strings(members)))
    });
    let are_rules = ["allow", "deny"].iter().all(|kind| {
        table
            .get(*kind)
            .is_none_or(|value| value.as_array().is_some_and(|all| all.iter().all(Value::is_table)))
    });
    let all = ["allow", "deny"].into_iter().flat_map(|kind| rules(table, kind));
    let is_selector = |word: &String| match word.strip_prefix("cluster:") {
        Some(label) => !label.is_empty(),
        None => (1..=1024).contains(&word.len()) && !word.chars().any(char::is_control),
    };
    let side = |rule: &Table, side: &str| {
        let words = strings(rule.get(side));
        let groups = table.get("groups").and_then(Value::as_table);
        let group_is_there = |word: &String| {
            word.strip_prefix('@').is_none_or(|g| groups.is_some_and(|all| all.contains_key(g)))
        };
        rule.get(side).is_some_and(are_strings)
            && !words.is_empty()
            && words.iter().all(group_is_there)
            && words.iter().flat_map(|word| members(table, word)).all(|word| is_selector(&word))
            && words
                .iter()
                .filter(|word| word.starts_with('@'))
                .all(|word| members(table, word).iter().all(|member| !member.starts_with('@')))
    };
    let are_signed = table.get("signed").is_none_or(|value| {
        value.as_array().is_some_and(|all| {
            all.iter().all(|rule| {
                rule.as_table().is_some_and(|rule| {
                    known(rule, &["from", "keys"]) && side(rule, "from") && are_keys(rule)
                })
            })
        })
    });
    let mut valid = known(table, &["groups", "allow", "deny", "signed"]) && groups && are_rules && are_signed;
    for rule in all {
        let actions =
            rule.get("actions").is_none_or(|words| are_strings(words) && !strings(Some(words)).is_empty())
                && strings(rule.get("actions")).iter().all(|action| ACTIONS.contains(&action.as_str()));
        valid &= known(rule, &["from", "to", "actions"]) && side(rule, "from") && side(rule, "to") && actions;
    }
    valid
}

/// Whether the keys of a `[[signed]]` are written as they should be; whether they can be read is another matter.
fn are_keys(rule: &Table) -> bool {
    let Some(keys) = rule.get("keys").and_then(Value::as_array) else { return false };
    let text = |key: &Table, word: &str| key.get(word).and_then(Value::as_str).map(ToOwned::to_owned);
    let is_key = |key: &Table| {
        let id = text(key, "id").unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let actions = key.get("actions").is_none_or(|words| {
            let words = words.as_array().map(Vec::as_slice).unwrap_or_default();
            let is_action = |word: &Value| word.as_str().is_some_and(|word| ACTIONS.contains(&word));
            !words.is_empty() && words.iter().all(is_action)
        });
        let known = key.keys().all(|word| ["id", "file", "actions"].contains(&word.as_str()));
        known
            && text(key, "file").is_some()
            && (1..=64).contains(&id.len())
            && id.bytes().all(plain)
            && actions
    };
    let mut ids: Vec<_> = keys.iter().filter_map(|key| text(key.as_table()?, "id")).collect();
    ids.sort_unstable();
    let all_differ = ids.windows(2).all(|pair| pair.first() != pair.last());
    all_differ && keys.iter().all(|key| key.as_table().is_some_and(is_key))
}
