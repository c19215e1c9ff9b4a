//! The commands that are still to be run, on the host and in the guests.
//!
//! In:  what shall hold, and what the guests' cluster calls its nodes. Out: lines for a shell.
//!
//! Invariant: a cluster's label, which `channel add` gives, allows no more than the rules do: machines share one only where
//! each of them may fence each other, and nobody else has it.

use super::after::After;
use super::before::Before;
use super::files::{free_name, is_same};
use super::machines::{Machine, Word};
use crate::operator::check_config::NETWORK_DROP_IN;
use crate::operator::table::shell_word;

/// The longest label; with two numbers behind it and four bytes a character it is still one.
const LABEL_CHARS: usize = 25;

/// On the host.
pub(super) fn on_the_host(after: &After, known: Option<&[Machine]>) -> Vec<String> {
    let rules = &after.rules;
    let mut commands = vec!["fence-vmchanneld hook install --reload".to_owned()];
    if !after.peers.is_empty() {
        let [from, to] = NETWORK_DROP_IN;
        commands.push(format!("install -D -m 0644 {from} {to}"));
        commands.push("systemctl daemon-reload".to_owned());
        commands.push("systemctl disable --now fence_virtd".to_owned()); // it listens at the same addresses
    }
    commands.push("systemctl enable fence-vmchanneld".to_owned());
    commands.push("systemctl restart fence-vmchanneld".to_owned()); // one that runs has other settings
    if rules.iter().any(|rule| rule.to.is_empty()) {
        let all: Vec<String> =
            known.unwrap_or_default().iter().map(|machine| shell_word(&machine.name)).collect();
        let all = if all.is_empty() { "DOMAIN...".to_owned() } else { all.join(" ") };
        commands.push(format!("fence-vmchanneld channel add --cluster everybody {all}"));
        return commands;
    }
    let mut labels = Labels { known, given: Vec::new() };
    let mut served: Vec<&str> = Vec::new();
    for rule in rules {
        let others = || rules.iter().filter(|other| !std::ptr::eq(*other, rule));
        let is_alone = |word: &Word| !others().any(|other| has(&other.from, word) || has(&other.to, word));
        if is_same(&rule.from, &rule.to) && rule.to.iter().all(is_alone) {
            let machines: Vec<&Word> = once_each(&rule.to);
            commands.push(add(&rule.name, &machines, &mut labels));
            served.extend(machines.iter().map(|word| word.machine.as_str()));
            continue;
        }
        for word in once_each(&rule.from) {
            if !served.contains(&word.machine.as_str()) {
                // A label that nobody shares: the policy alone decides.
                commands.push(add(&format!("only-{}", word.shown), &[word], &mut labels));
                served.push(&word.machine);
            }
        }
    }
    commands
}

fn has(words: &[Word], word: &Word) -> bool {
    words.iter().any(|other| other.machine == word.machine)
}

fn once_each(words: &[Word]) -> Vec<&Word> {
    let mut each: Vec<&Word> = Vec::new();
    for word in words {
        if !each.iter().any(|known| known.machine == word.machine) {
            each.push(word);
        }
    }
    each
}

/// The labels that are in use; of machines that are not known, any may be.
struct Labels<'a> {
    known: Option<&'a [Machine]>,
    given: Vec<String>,
}

impl Labels<'_> {
    /// Whether a machine that is none of these has the label.
    fn is_taken(&self, label: &str, machines: &[&Word]) -> bool {
        let is_other =
            |machine: &&Machine| !machines.iter().any(|word| word.machine == machine.uuid.to_string());
        let mut holders =
            self.known.unwrap_or_default().iter().filter(|machine| machine.cluster.as_deref() == Some(label));
        self.given.iter().any(|given| given == label) || holders.any(|machine| is_other(&machine))
    }
}

fn add(label: &str, machines: &[&Word], labels: &mut Labels<'_>) -> String {
    let mut usable: String = label.chars().filter(|c| !c.is_control()).take(LABEL_CHARS).collect();
    if labels.known.is_none() {
        usable.push_str(&format!("-{:08x}", number_of(label, machines)));
    }
    let label = free_name(&usable, |name| labels.is_taken(name, machines));
    let words: Vec<String> = machines.iter().map(|word| shell_word(&word.shown)).collect();
    let command =
        format!("fence-vmchanneld channel add --cluster {} {}", shell_word(&label), words.join(" "));
    labels.given.push(label);
    command
}

/// A number that hardly any other label has, and that is the same when the conversion is done again (FNV-1a).
fn number_of(label: &str, machines: &[&Word]) -> u32 {
    let texts = machines.iter().map(|word| word.machine.as_str());
    let bytes = std::iter::once(label).chain(texts).flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// In the guests' cluster.
pub(super) fn in_the_guests(before: &Before) -> Vec<String> {
    let delay =
        |node: &str| before.delays.iter().find(|(delayed, _)| delayed == node).map(|(_, delay)| delay);
    let (late, plain): (Vec<_>, Vec<_>) = before.nodes.iter().partition(|(node, _)| delay(node).is_some());
    let map: Vec<String> = plain.iter().map(|(node, machine)| format!("{node}:{machine}")).collect();
    let mut commands = Vec::new();
    if !map.is_empty() {
        let map = shell_word(&format!("pcmk_host_map={}", map.join(";")));
        commands.push(format!("pcs stonith create fence-vmchannel fence_vmchannel {map}"));
    }
    for (node, machine) in late {
        let name = shell_word(&format!("fence-{node}"));
        let map = shell_word(&format!("pcmk_host_map={node}:{machine}"));
        let delay = shell_word(&format!("delay={}", delay(node).map(String::as_str).unwrap_or_default()));
        commands.push(format!("pcs stonith create {name} fence_vmchannel {map} {delay}"));
    }
    commands
}
