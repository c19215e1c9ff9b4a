//! Who could fence whom with fence_virtd: a small model of its own, which shares no code with the converter.
//!
//! What it does was observed with fence_virtd 4.12.1 and its debug output.

use crate::world::Inhabitant;

/// What fence_virtd goes by.
pub(crate) struct Incumbent {
    listener: String,
    /// Askers' addresses and entries of each group that it sees.
    groups: Vec<(Vec<String>, Vec<String>)>,
}

impl Incumbent {
    /// fence_xvmd, which has no groups.
    pub(crate) fn without_groups() -> Self {
        Self { listener: "multicast".into(), groups: Vec::new() }
    }

    pub(crate) fn read(text: &str) -> Self {
        let flat = flatten(text);
        let of = |path: &str| -> Vec<String> {
            flat.iter().filter(|(p, _)| p == path).map(|(_, text)| text.clone()).collect()
        };
        let listener = of("fence_virtd/listener").pop().unwrap_or_default().to_lowercase();
        let last = flat.iter().filter_map(|(path, _)| number(path, "groups#")).max();
        let mut groups = Vec::new();
        let inside = |group: usize| format!("groups#{}/group#{group}", last.unwrap_or_default());
        let count = flat.iter().filter_map(|(p, _)| {
            number(p.split_once('/')?.1, "group#").filter(|_| number(p, "groups#") == last)
        });
        let last_group = count.max().unwrap_or_default();
        for group in (1..=last_group).rev() {
            let entries = |key: &str| of(&format!("{}/{key}", inside(group)));
            let (ips, uuids) = (entries("ip"), entries("uuid"));
            let has_label = of(&inside(group)).iter().any(|label| label != "{");
            let is_last_written = group == last_group;
            if ips.is_empty() && uuids.is_empty() && !(has_label && is_last_written) {
                break;
            }
            if !ips.is_empty() || !uuids.is_empty() {
                groups.push((ips, uuids));
            }
        }
        Self { listener, groups }
    }

    /// Whether `asker` could fence the machine that it calls `target`.
    pub(crate) fn allows(&self, asker: &Inhabitant, target: &str) -> bool {
        let has =
            |entries: &[String], text: &str| entries.iter().any(|entry| entry.eq_ignore_ascii_case(text));
        let asks = |(ips, uuids): &(Vec<String>, Vec<String>)| match self.listener.as_str() {
            "serial" => has(uuids, asker.uuid),
            "vsock" => has(ips, asker.cid),
            _ => has(ips, asker.ip),
        };
        self.groups.is_empty() || self.groups.iter().any(|group| asks(group) && has(&group.1, target))
    }
}

fn number(path: &str, before: &str) -> Option<usize> {
    path.strip_prefix(before)?.split('/').next()?.parse().ok()
}

/// Each value with its path, as in `groups#1/group#2/uuid`; each section with its label or `{`.
fn flatten(text: &str) -> Vec<(String, String)> {
    let (mut flat, mut path, mut counts) =
        (Vec::new(), Vec::<String>::new(), std::collections::HashMap::new());
    let (mut word, mut value) = (String::new(), None::<String>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => drop(chars.by_ref().find(|c| *c == '\n')),
            '"' => value = Some(chars.by_ref().take_while(|c| *c != '"').collect()),
            '{' => {
                let name = std::mem::take(&mut word).to_lowercase();
                let count = counts.entry(format!("{}/{name}", path.join("/"))).or_insert(0);
                *count += 1;
                path.push(if name.starts_with("group") { format!("{name}#{count}") } else { name });
                flat.push((path.join("/"), value.take().unwrap_or_else(|| "{".into())));
            }
            '}' => drop(path.pop()),
            ';' => {
                let key = std::mem::take(&mut word).to_lowercase();
                flat.push((format!("{}/{key}", path.join("/")), value.take().unwrap_or_default()));
            }
            c if c.is_whitespace() || c == '=' => {}
            c => word.push(c),
        }
    }
    flat
}

#[test]
fn a_group_without_entries_ends_the_reading_from_behind() {
    let groups = |text: &str| Incumbent::read(&format!("groups {{ {text} }}")).groups.len();

    assert_eq!(groups(r#"group { uuid = "a"; } group { name = "x"; } group { uuid = "b"; }"#), 1);
    assert_eq!(groups(r#"group { uuid = "a"; } group { name = "x"; }"#), 0);
    assert_eq!(groups(r#"group { uuid = "a"; } group = "x" { } group { uuid = "b"; }"#), 1);
    assert_eq!(groups(r#"group { uuid = "a"; } group = "x" { }"#), 1);
}
