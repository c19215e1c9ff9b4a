//! Which domains live on this host.
//!
//! In:  listings of the hypervisor, hastened by events and hook notes. Out: snapshots that everybody reads.
//!
//! Invariant: a snapshot never changes; events and notes only make somebody look again, and what was seen decides.

mod census;
mod state;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use fence_vmchannel_protocol::{Name, Target};
use uuid::Uuid;

use crate::domain::{Domain, Standing};
pub use census::{Census, Hint};
pub use state::{glance, look, look_at_all, settled};

/// So many domains that libvirt has forgotten are remembered to be elsewhere.
const MAX_ELSEWHERE: usize = 4096;

/// The domains of this host at one moment.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Whether libvirt listed all its domains at least once.
    complete: bool,
    domains: HashMap<Uuid, Arc<Domain>>,
    /// Those of which a hook note told that they start here, and libvirt has said nothing yet: what they are called and whose
    /// they are nobody knows, and nobody asks. Only their channels are there.
    announced: HashMap<Uuid, Arc<Domain>>,
    /// The same as `domains`, sorted for lists once somebody wants one.
    by_name: OnceLock<Vec<Arc<Domain>>>,
    /// Those that were leaving for another host, or had moved there, when they were heard of last, known or not.
    elsewhere: BTreeSet<Uuid>,
    /// Each name that a domain has; shared by all snapshots until one changes.
    names: Arc<HashMap<Name, Uuid>>,
}

impl Inventory {
    /// What is known before anything was seen: who was leaving, or had moved, when an agent of before heard of it last.
    #[must_use]
    pub fn remembering(elsewhere: BTreeSet<Uuid>) -> Self {
        Self { elsewhere, ..Self::default() }
    }

    /// Those that were leaving for another host, or had moved there, when they were heard of last, known or not.
    #[must_use]
    pub fn elsewhere(&self) -> &BTreeSet<Uuid> {
        &self.elsewhere
    }

    /// The domain with this UUID.
    #[must_use]
    pub fn get(&self, uuid: Uuid) -> Option<&Arc<Domain>> {
        self.domains.get(&uuid)
    }

    /// The same, or the one with this UUID that was announced: whoever has its channels.
    #[must_use]
    pub fn at_the_door(&self, uuid: Uuid) -> Option<&Arc<Domain>> {
        self.get(uuid).or_else(|| self.announced.get(&uuid))
    }

    /// All that may have channels: the domains, and those that were announced.
    pub fn with_announced(&self) -> impl Iterator<Item = &Arc<Domain>> {
        self.domains.values().chain(self.announced.values())
    }

    /// The domain that a target means. libvirt keeps names unique on one host, but forgets a domain whose process lives on: a name
    /// that it then gives to another means neither.
    #[must_use]
    pub fn find(&self, target: &Target) -> Option<&Arc<Domain>> {
        match target {
            Target::Uuid(uuid) => self.get(*uuid),
            Target::Name(name) => {
                let found = self.get(*self.names.get(name)?)?;
                let is_shared = self.names.len() < self.domains.len();
                let lives = |other: &&Arc<Domain>| {
                    other.name == *name && other.uuid != found.uuid && other.is_alive()
                };
                let another = self.domains.values().filter(|_| is_shared).find(lives);
                another.is_none().then_some(found)
            }
        }
    }

    /// Whether nobody is meant by this name because two have it.
    #[must_use]
    pub fn is_shared(&self, target: &Target) -> bool {
        matches!(target, Target::Name(name) if self.names.contains_key(name)) && self.find(target).is_none()
    }

    /// Whether libvirt has listed all its domains.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether every domain of this host is in it: libvirt has listed all, and none was announced since.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.complete && self.announced.is_empty()
    }

    /// All domains by name.
    pub fn by_name(&self) -> &[Arc<Domain>] {
        self.by_name.get_or_init(|| {
            let mut domains: Vec<_> = self.domains.values().cloned().collect();
            domains.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            domains
        })
    }

    /// All domains, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Domain>> {
        self.domains.values()
    }

    /// Takes what was seen of one domain. Its name is its own from now on, whoever had it.
    fn put(&mut self, domain: Domain) {
        let uuid = domain.uuid;
        self.announced.remove(&uuid);
        self.keep(domain);
        self.call(uuid);
    }

    /// Takes what a note says of a domain that is about to start. It may be old, and libvirt may still refuse that domain: it tells
    /// which sockets to have ready, and nothing else.
    fn announce(&mut self, domain: Domain) {
        match self.get(domain.uuid) {
            Some(known) => {
                let mut merged = Domain::clone(known);
                let new = domain.channels.into_iter().filter(|channel| !known.channels.contains(channel));
                merged.channels.extend(new);
                self.keep(merged);
            }
            None => drop(self.announced.insert(domain.uuid, Arc::new(domain))),
        }
    }

    fn call(&mut self, uuid: Uuid) {
        if let Some(domain) = self.domains.get(&uuid)
            && self.names.get(&domain.name) != Some(&uuid)
        {
            Arc::make_mut(&mut self.names).insert(domain.name.clone(), uuid);
        }
    }

    /// A process that lives is never forgotten, whatever libvirt and its files say; and a domain that moved away has moved
    /// until it runs here again: libvirt forgets that at its restart.
    fn keep(&mut self, mut domain: Domain) {
        let old = self.get(domain.uuid).cloned();
        if let Some(old) = &old
            && (old.instance == domain.instance || old.is_alive())
        {
            domain.instance.clone_from(&old.instance);
        }
        match domain.standing {
            Standing::Active => drop(self.elsewhere.remove(&domain.uuid)), // it stayed, or it runs again
            Standing::Leaving | Standing::Moved => drop(self.elsewhere.insert(domain.uuid)),
            Standing::ShutOff if self.elsewhere.contains(&domain.uuid) => domain.standing = Standing::Moved,
            // It may be about to start here: that can fail just because another host runs it.
            Standing::Crashed | Standing::Unclear if self.elsewhere.contains(&domain.uuid) => {
                domain.standing = Standing::Leaving;
            }
            Standing::ShutOff | Standing::Crashed | Standing::Unclear => {}
        }
        if let Some(old) = old {
            if *old == domain {
                return; // all snapshots share the one that they have
            }
            if old.name != domain.name {
                self.remove(domain.uuid);
            }
        }
        self.insert(domain);
    }

    fn insert(&mut self, domain: Domain) {
        self.by_name.take();
        self.domains.insert(domain.uuid, Arc::new(domain));
    }

    /// It is in the last moments of a migration, or was: what is known of it may be older, or newer and blind to that.
    fn leaves(&mut self, uuid: Uuid) {
        self.elsewhere.insert(uuid);
        let Some(domain) = self.get(uuid) else { return };
        let standing = match domain.standing {
            Standing::Active | Standing::Leaving | Standing::Crashed | Standing::Unclear => Standing::Leaving,
            Standing::ShutOff | Standing::Moved => Standing::Moved,
        };
        self.insert(Domain { standing, ..Domain::clone(domain) });
    }

    /// Forgets a domain that libvirt no longer knows, unless its process lives. That it is elsewhere is remembered: it may be
    /// defined anew here while it runs there.
    fn forget(&mut self, uuid: Uuid) {
        self.announced.remove(&uuid);
        if self.get(uuid).is_none_or(|domain| !domain.is_alive()) {
            self.remove(uuid);
            if self.elsewhere.len() > MAX_ELSEWHERE {
                let is_old = |other: &&Uuid| **other != uuid && !self.domains.contains_key(other);
                let old = self.elsewhere.iter().find(is_old).copied(); // the last one to go is the likeliest to come back
                self.elsewhere.remove(&old.unwrap_or(uuid));
            }
        }
    }

    fn remove(&mut self, uuid: Uuid) -> Option<Arc<Domain>> {
        self.by_name.take();
        let old = self.domains.remove(&uuid)?;
        if self.names.get(&old.name) == Some(&uuid) {
            // With a name for each domain that is left and one more, nobody else has this one.
            let is_shared = self.names.len() <= self.domains.len();
            let others = self.domains.values().filter(|domain| is_shared && domain.name == old.name);
            let heir = others.map(|domain| domain.uuid).min();
            let names = Arc::make_mut(&mut self.names);
            match heir {
                Some(heir) => names.insert(old.name.clone(), heir),
                None => names.remove(&old.name),
            };
        }
        Some(old)
    }
}

/// What libvirt would list.
impl FromIterator<Domain> for Inventory {
    fn from_iter<I: IntoIterator<Item = Domain>>(domains: I) -> Self {
        let mut inventory = Self { complete: true, ..Self::default() };
        domains.into_iter().for_each(|domain| inventory.put(domain));
        inventory
    }
}

#[cfg(test)]
mod tests;
