//! Which domains live on this host.
//!
//! In:  listings of the hypervisor, hastened by events and hook notes. Out: snapshots that everybody reads.
//!
//! Invariant: a snapshot never changes; events and notes only make somebody look again, and what was seen decides.

mod census;
mod state;

use std::collections::HashMap;
use std::sync::Arc;

use fence_vmchannel_protocol::{Name, Target};
use uuid::Uuid;

use crate::domain::{Domain, Standing};
pub use census::{Census, Hint};
pub use state::{glance, look, look_at_all, settled};

/// The domains of this host at one moment.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Whether libvirt listed all its domains at least once.
    complete: bool,
    domains: HashMap<Uuid, Arc<Domain>>,
    /// Shared by all snapshots until a name changes.
    names: Arc<HashMap<Name, Uuid>>,
}

impl Inventory {
    /// The domain with this UUID.
    #[must_use]
    pub fn get(&self, uuid: Uuid) -> Option<&Arc<Domain>> {
        self.domains.get(&uuid)
    }

    /// The domain that a target means. libvirt keeps names unique on one host.
    #[must_use]
    pub fn find(&self, target: &Target) -> Option<&Arc<Domain>> {
        match target {
            Target::Uuid(uuid) => self.get(*uuid),
            Target::Name(name) => self.get(*self.names.get(name)?),
        }
    }

    /// Whether every domain of this host is in it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// All domains, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Domain>> {
        self.domains.values()
    }

    /// Takes what was seen of one domain. A process that lives is never forgotten, whatever libvirt and its files say; and
    /// a domain that moved away has moved until it runs here again: libvirt forgets that at its restart.
    fn put(&mut self, mut domain: Domain) {
        if let Some(old) = self.get(domain.uuid) {
            if old.instance == domain.instance || old.is_alive() {
                domain.instance.clone_from(&old.instance);
            }
            let runs_again = domain.is_alive() && domain.instance != old.instance;
            let was_going = matches!(old.standing, Standing::Moved | Standing::Leaving);
            if was_going && domain.standing == Standing::ShutOff && !runs_again {
                domain.standing = Standing::Moved;
            }
            if **old == domain {
                return; // all snapshots share the one that they have
            }
            if old.name != domain.name {
                self.remove(domain.uuid);
            }
        }
        if self.names.get(&domain.name) != Some(&domain.uuid) {
            Arc::make_mut(&mut self.names).insert(domain.name.clone(), domain.uuid);
        }
        self.domains.insert(domain.uuid, Arc::new(domain));
    }

    /// What runs here is in the last moments of a migration.
    fn leaves(&mut self, uuid: Uuid) {
        if let Some(domain) = self.get(uuid).filter(|domain| domain.standing == Standing::Active) {
            let leaving = Domain { standing: Standing::Leaving, ..Domain::clone(domain) };
            self.domains.insert(uuid, Arc::new(leaving));
        }
    }

    /// Forgets a domain that libvirt no longer knows, unless its process lives.
    fn forget(&mut self, uuid: Uuid) {
        if self.get(uuid).is_some_and(|domain| !domain.is_alive()) {
            self.remove(uuid);
        }
    }

    fn remove(&mut self, uuid: Uuid) -> Option<Arc<Domain>> {
        let old = self.domains.remove(&uuid)?;
        if self.names.get(&old.name) == Some(&uuid) {
            Arc::make_mut(&mut self.names).remove(&old.name);
        }
        Some(old)
    }
}

impl FromIterator<Domain> for Inventory {
    fn from_iter<I: IntoIterator<Item = Domain>>(domains: I) -> Self {
        let mut inventory = Self::default();
        domains.into_iter().for_each(|domain| inventory.put(domain));
        inventory
    }
}

#[cfg(test)]
mod tests;
