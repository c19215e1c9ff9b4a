//! The groups of `fence_virt.conf`: who could fence whom.
//!
//! In:  the file's tree. Out: the groups that fence_virtd sees, those that it overlooks, remarks.
//!
//! Invariant: the order is fence_virtd's (observed with 4.12.1): it reads the groups of the last `groups` section from
//! the last to the first, and ends at the first one without any uuid or ip. Without a group it allows everything.

use super::before::{Before, Entry, Group};
use super::finding::{Kind, Remarks};
use super::grammar::{Section, Value};

/// The longest entry that fence_virtd can hold.
const ENTRY_BYTES: usize = 127;

pub(super) fn read(root: &Section, before: &mut Before, remarks: &mut Remarks) {
    let sections: Vec<&Section> = root.all("groups").collect();
    let Some((counts, shadowed)) = sections.split_last() else {
        return remarks.say(
            0,
            Kind::Unsafe,
            "there is no `groups` section: every guest could fence every other",
        );
    };
    for section in shadowed {
        remarks.say(
            section.line,
            Kind::Unsafe,
            format!(
                "fence_virtd overlooks this section: of several `groups` only the last one counts (line {})",
                counts.line
            ),
        );
        let groups = section.all("group").map(|group| read_group(group, false, remarks)).collect::<Vec<_>>();
        before.hidden.extend(groups.into_iter().filter(|group| !group.members.is_empty()));
    }
    let groups: Vec<&Section> = counts.all("group").collect();
    let end = groups.iter().rposition(|group| is_empty(group)).map_or(0, |empty| empty + 1);
    for (index, section) in groups.iter().enumerate() {
        let sees = index >= end;
        if is_empty(section) {
            what_an_empty_one_does(section, index, groups.len(), remarks);
        }
        let group = read_group(section, sees, remarks);
        match sees {
            true => before.groups.push(group),
            false if !group.members.is_empty() => before.hidden.push(group),
            false => {}
        }
    }
    if before.groups.is_empty() {
        let line = counts.line;
        remarks.say(
            line,
            Kind::Unsafe,
            "fence_virtd sees no group in it: every guest could fence every other",
        );
    }
    the_rest(counts, &groups, remarks);
}

fn is_empty(group: &Section) -> bool {
    // Where it has a label, fence_virtd sometimes reads on: then less is taken over than held.
    group.value("uuid").is_none() && group.value("ip").is_none()
}

fn what_an_empty_one_does(section: &Section, index: usize, all: usize, remarks: &mut Remarks) {
    let hides = match (index, index + 1 == all) {
        (0, false) => return remarks.say(section.line, Kind::NotNeeded, "a group without any uuid or ip"),
        (0, true) => "it is the only one, so none holds",
        (_, true) => "it hides all groups before it, so none holds",
        (_, false) => "it hides all groups before it, whose members could not fence",
    };
    remarks.say(
        section.line,
        Kind::Unsafe,
        format!("a group without any uuid or ip ends fence_virtd's reading: {hides}"),
    );
}

fn read_group(section: &Section, sees: bool, remarks: &mut Remarks) -> Group {
    // fence_virtd takes a group's name for people only.
    let name = section.value("name").map(|value| value.text.clone()).or_else(|| section.label.clone());
    let name = name.unwrap_or_else(|| format!("group-{}", section.line));
    for value in &section.values {
        if !["uuid", "ip", "name"].iter().any(|key| value.key.eq_ignore_ascii_case(key)) {
            remarks.say(value.line, Kind::NotConverted, format!("`{}` means nothing in a group", value.key));
        }
    }
    for inner in &section.sections {
        remarks.say(
            inner.line,
            Kind::NotConverted,
            format!("the section `{}` means nothing in a group", inner.name),
        );
    }
    if let Some(value) = section.value("name") {
        remarks.say(value.line, Kind::Converted, format!("group {name:?}"));
    }
    if !sees && !is_empty(section) {
        let text = format!(
            "group {name:?} never held, since fence_virtd overlooks it; it holds only with --open-as groups"
        );
        remarks.say(section.line, Kind::Unsafe, text);
    }
    let place = remarks.place(section.line);
    let mut entries =
        |key: &str| section.values(key).filter_map(|value| entry(value, remarks)).collect::<Vec<_>>();
    Group { name, place, members: entries("uuid"), addresses: entries("ip") }
}

fn entry(value: &Value, remarks: &mut Remarks) -> Option<Entry> {
    if value.text.len() > ENTRY_BYTES {
        let text = format!("longer than {ENTRY_BYTES} bytes, which fence_virtd cannot hold: it never held");
        remarks.say(value.line, Kind::NotConverted, text);
        return None;
    }
    Some(Entry { text: value.text.clone(), place: remarks.place(value.line) })
}

/// What is neither a group nor anything to fence_virtd.
fn the_rest(section: &Section, groups: &[&Section], remarks: &mut Remarks) {
    for value in &section.values {
        let text = format!("`{}` means nothing here: only inside a `group {{ }}`", value.key);
        remarks.say(value.line, Kind::NotConverted, text);
    }
    for inner in &section.sections {
        if !groups.iter().any(|group| std::ptr::eq(*group, inner)) {
            remarks.say(
                inner.line,
                Kind::NotConverted,
                format!("the section `{}` means nothing here", inner.name),
            );
        }
    }
}
