//! What shall hold: the rules of the new policy.
//!
//! In:  [`Before`], the choices, the machines there are. Out: [`After`], remarks.
//!
//! Invariant: a rule allows no more than the old configuration did, except what the administrator chose in words.

use super::before::{Before, Entry, Group, Listener};
use super::choices::{AddressesAs, Choices, OpenAs};
use super::finding::{Finding, Kind, Place};
use super::listeners::{Peer, Whence, Whom};
use super::machines::{Machine, Registry, Word};

/// One `[[allow]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) from: Vec<Word>,
    /// Labels of addresses that may ask as well.
    pub(super) labels: Vec<String>,
    /// If empty, everybody may do everything to everybody.
    pub(super) to: Vec<Word>,
}

/// What shall hold.
#[derive(Debug, Default)]
pub(super) struct After {
    pub(super) rules: Vec<Rule>,
    /// Who may go on asking over the network.
    pub(super) peers: Vec<Peer>,
    pub(super) findings: Vec<Finding>,
}

/// Decides what shall hold.
pub(super) fn decide(before: &Before, choices: &Choices, known: Option<&[Machine]>, whole: &Place) -> After {
    let registry = Registry { known, findings: Vec::new() };
    let mut plan =
        Plan { choices, listener: before.listener, registry, rules: Vec::new(), peers: Vec::new() };
    if before.is_open() {
        plan.open(before, whole);
    } else {
        for group in &before.groups {
            plan.group(before, group);
        }
        if choices.open_as == Some(OpenAs::Groups) {
            plan.all_of(before.hidden.iter());
        }
        plan.clusters_of_a_closed_one(before);
    }
    if choices.addresses_as == Some(AddressesAs::Keep) {
        plan.keep(whole);
    }
    After { rules: plan.rules, peers: plan.peers, findings: plan.registry.findings }
}

struct Plan<'a> {
    choices: &'a Choices,
    listener: Listener,
    registry: Registry<'a>,
    rules: Vec<Rule>,
    peers: Vec<Peer>,
}

impl Plan<'_> {
    fn say(&mut self, place: &Place, kind: Kind, text: impl Into<String>) {
        self.registry.findings.push(Finding { place: place.clone(), kind, text: text.into() });
    }

    fn open(&mut self, before: &Before, whole: &Place) {
        match self.choices.open_as {
            None => self.say(
                whole,
                Kind::Choose,
                "every guest could fence every other; say what shall hold: --open-as all, --open-as groups (only within the \
                 groups that are written and within a cluster.conf) or --open-as refuse",
            ),
            Some(OpenAs::Refuse) => self.say(
                whole,
                Kind::Converted,
                "by your choice nobody may fence anybody until a cluster label or a policy allows it",
            ),
            Some(OpenAs::All) => {
                self.say(whole, Kind::Converted, "by your choice every guest with a channel may fence every other");
                let name = "everybody".to_owned();
                let (place, labels) = (whole.clone(), Vec::new());
                self.rules.push(Rule { name, place, from: Vec::new(), labels, to: Vec::new() });
            }
            Some(OpenAs::Groups) => {
                self.say(whole, Kind::Converted, "by your choice guests may fence only within the groups that are written");
                self.all_of(before.hidden.iter().chain(&before.clusters));
            }
        }
    }

    /// By choice, all members of these groups may fence each other.
    fn all_of<'g>(&mut self, groups: impl Iterator<Item = &'g Group>) {
        for group in groups {
            let members = self.registry.words(&group.members);
            self.rule(group, members.clone(), Vec::new(), members);
        }
    }

    fn group(&mut self, before: &Before, group: &Group) {
        let members = self.registry.words(&group.members);
        let (askers, labels) = match before.listener.knows_addresses() {
            true => self.askers_by_address(group, &members),
            false => (self.askers_by_uuid(group, &members), Vec::new()),
        };
        if members.is_empty() {
            return self.say(
                &group.place,
                Kind::NotNeeded,
                format!("group {:?} has no machine: nobody could be fenced", group.name),
            );
        }
        if askers.is_empty() && labels.is_empty() {
            let text = format!("group {:?}: nobody may ask, so it has no rule", group.name);
            return self.say(&group.place, Kind::NotNeeded, text);
        }
        self.rule(group, askers, labels, members);
    }

    fn rule(&mut self, group: &Group, from: Vec<Word>, labels: Vec<String>, to: Vec<Word>) {
        let asks_nobody = from.is_empty() && labels.is_empty();
        if !to.is_empty() && !asks_nobody {
            let place = group.place.clone();
            self.rules.push(Rule { name: group.name.clone(), place, from, labels, to });
        }
    }

    /// fence_virtd knows the asker on a serial port by its UUID, and compares it with the entries as text.
    fn askers_by_uuid(&mut self, group: &Group, members: &[Word]) -> Vec<Word> {
        for entry in &group.addresses {
            let text = format!("ip {}: only the network listeners look at it", entry.text);
            self.say(&entry.place, Kind::NotNeeded, text);
        }
        let askers: Vec<Word> = members.iter().filter(|word| word.is_uuid).cloned().collect();
        for word in members {
            if !askers.iter().any(|asker| asker.machine == word.machine) {
                let text = format!(
                    "{:?} is named without its UUID: it could be fenced but could not ask; to let it ask, add it to `from`",
                    word.shown
                );
                self.say(&group.place, Kind::Unsafe, text);
            }
        }
        askers
    }

    fn askers_by_address(&mut self, group: &Group, members: &[Word]) -> (Vec<Word>, Vec<String>) {
        let mut labels = Vec::new();
        let mut askers: Vec<Entry> = Vec::new();
        let mut all_members = false;
        for entry in &group.addresses {
            let told =
                self.choices.addresses.iter().find(|told| told.address.eq_ignore_ascii_case(&entry.text));
            match (told, self.choices.addresses_as) {
                (Some(told), _) => {
                    askers.push(Entry { text: told.machine.clone(), place: entry.place.clone() })
                }
                (None, Some(AddressesAs::Members)) => {
                    all_members = true;
                    let text =
                        format!("ip {}: by your choice every machine of the group may ask", entry.text);
                    self.say(&entry.place, Kind::Converted, text);
                }
                (None, Some(AddressesAs::Refuse)) => {
                    let text = format!("ip {}: by your choice it may ask no more", entry.text);
                    self.say(&entry.place, Kind::NotConverted, text);
                }
                (None, Some(AddressesAs::Keep)) => labels.extend(self.label(entry)),
                (None, None) => {
                    let text = format!(
                        "ip {0}: over channels machines ask, not addresses. Say whose it is (--address {0}=DOMAIN), or \
                         --addresses-as members (every machine of the group may ask), --addresses-as keep (it goes on asking over the \
                         network) or --addresses-as refuse",
                        entry.text
                    );
                    self.say(&entry.place, Kind::Choose, text);
                }
            }
        }
        if group.addresses.is_empty() {
            let text = format!("group {:?} names no ip: nobody could ask for its machines", group.name);
            self.say(&group.place, Kind::Unsafe, text);
        }
        let mut words = if all_members { members.to_vec() } else { Vec::new() };
        for word in self.registry.words(&askers) {
            if !words.iter().any(|known| known.machine == word.machine) {
                words.push(word);
            }
        }
        (words, labels)
    }

    /// An address that goes on: it has a label of its own, which rules name and no machine has.
    fn label(&mut self, entry: &Entry) -> Option<String> {
        let Some(whence) = Whence::read(self.listener, &entry.text) else {
            let text = format!("ip {:?} is none that this listener could know", entry.text);
            self.say(&entry.place, Kind::NotConverted, text);
            return None;
        };
        let label = format!("legacy {}", entry.text.to_ascii_lowercase());
        let peer = Peer { whence, whom: Whom::Label(label.clone()) };
        if !self.peers.iter().any(|known| known.whence == whence) {
            self.peers.push(peer);
        }
        self.say(
            &entry.place,
            Kind::Converted,
            format!("ip {}: by your choice it may go on asking over the network", entry.text),
        );
        Some(label)
    }

    /// What else there is to know about a listener that goes on.
    fn keep(&mut self, whole: &Place) {
        for told in &self.choices.addresses {
            let whence = Whence::read(self.listener, &told.address);
            let machine = Whom::Machine(told.machine.clone());
            if let Some(whence) =
                whence.filter(|whence| !self.peers.iter().any(|known| known.whence == *whence))
            {
                self.peers.push(Peer { whence, whom: machine });
            }
        }
        match self.peers.is_empty() {
            true => self.say(
                whole,
                Kind::NotConverted,
                "no address is known that could go on asking over the network: name each (--address ADDRESS=DOMAIN)",
            ),
            false => self.say(
                whole,
                Kind::Converted,
                "by your choice the network listener goes on, as [legacy] of agent.toml: stop fence_virtd before the agent \
                 starts with it, since both would act on a request; take it out when the guests have moved. A request must be \
                 signed with sha256 or sha512",
            ),
        }
    }

    /// The groups decide; a cluster.conf only shows what its nodes need.
    fn clusters_of_a_closed_one(&mut self, before: &Before) {
        for entry in before.clusters.iter().flat_map(|cluster| &cluster.members) {
            let is =
                |words: &[Word]| words.iter().any(|w| [&w.text, &w.shown, &w.machine].contains(&&entry.text));
            let (asks, is_fenced) =
                (self.rules.iter().any(|r| is(&r.from)), self.rules.iter().any(|r| is(&r.to)));
            let lacks = match (asks, is_fenced) {
                (true, true) => continue,
                (false, true) => "may not ask",
                (true, false) => "may not be fenced",
                (false, false) => "is in no rule",
            };
            let text = format!("the machine {:?} {lacks} by the groups of fence_virt.conf", entry.text);
            self.say(&entry.place, Kind::Unsafe, text);
        }
    }
}
