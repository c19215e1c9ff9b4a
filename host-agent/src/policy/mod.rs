//! Who may do what to whom.
//!
//! In:  a [`Claim`] and the inventory. Out: a [`Permit`], or a [`Refusal`] that says no more than it must.
//!
//! Invariant: default deny; pure; only the host's administrator writes what is decided by (domain metadata and
//! `policy.d`), nothing from the guest counts.

mod file;
pub(crate) mod key_file;
mod keys;
mod permit;
mod rule;

use std::fmt;
use std::sync::Arc;

use fence_vmchannel_protocol::{Power, Reason, Target};

use crate::domain::Domain;
use crate::identity::{Caller, Guest};
use crate::inventory::Inventory;
pub use file::{Loaded, Problem};
pub use key_file::read as read_key_file;
pub use keys::{KeyRule, ListedKey, NO_KEY, Opened, Signer};
pub use permit::Permit;
pub use rule::Action;
use rule::Rule;

/// What a guest asks for, before it is decided.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who asks.
    pub guest: &'a Guest,
    /// What it asks for.
    pub action: Action,
    /// About whom.
    pub target: &'a Target,
}

/// Who asks, as the rules see it.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A guest's domain.
    Domain(&'a Domain),
    /// A peer on a legacy network, with the cluster label that the administrator gave its address.
    Network(&'a str),
}

impl<'a> Source<'a> {
    /// What the rules see of this caller; `None` for a guest whose domain is not known.
    #[must_use]
    pub fn of(caller: &'a Caller, inventory: &'a Inventory) -> Option<Self> {
        match caller {
            Caller::Guest(guest) => inventory.get(guest.uuid()).map(|domain| Self::Domain(domain)),
            Caller::Peer(peer) => Some(Self::Network(peer.cluster())),
        }
    }

    fn cluster(self) -> Option<&'a str> {
        match self {
            Self::Domain(domain) => domain.cluster.as_deref(),
            Self::Network(label) => Some(label),
        }
    }
}

/// A claim that was not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the guest is told.
    pub reason: Reason,
    /// The rule that decided, for the operator only.
    pub rule: String,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The deciding rule, in words.
    pub rule: String,
}

/// What decides.
#[derive(Debug)]
enum Ground<'a> {
    Closed(&'a str),
    Rule(&'a Rule),
    SameCluster(&'a str),
    Nothing,
}

impl Ground<'_> {
    fn allows(&self) -> bool {
        match self {
            Self::Rule(rule) => !rule.deny,
            Self::SameCluster(_) => true,
            Self::Closed(_) | Self::Nothing => false,
        }
    }
}

impl fmt::Display for Ground<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(why) => f.write_str(why),
            Self::Rule(rule) => rule.fmt(f),
            Self::SameCluster(label) => {
                write!(f, "both are members of cluster {label:?} (domain metadata)")
            }
            Self::Nothing => f.write_str("no rule allows it (default deny)"),
        }
    }
}

/// All rules that hold.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Who has to sign.
    key_rules: Vec<KeyRule>,
    /// Set when a broken file may have denied something: then nothing is allowed.
    closed: Option<String>,
}

impl Policy {
    /// The rules in a directory's `*.toml`, and what is wrong with them. A missing directory has no rules.
    #[must_use]
    pub fn load(dir: &std::path::Path) -> Loaded {
        file::load(dir, &Self::default())
    }

    /// The same while these rules hold. Then a missing directory is one that cannot be read.
    #[must_use]
    pub fn load_after(&self, dir: &std::path::Path) -> Loaded {
        file::load(dir, self)
    }

    /// Whether nothing came from any file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.key_rules.is_empty() && self.closed.is_none()
    }

    /// The rules in the texts of policy files, in their order, and what is wrong with them.
    #[must_use]
    pub fn read(files: impl IntoIterator<Item = (std::io::Result<String>, std::path::PathBuf)>) -> Loaded {
        file::read(files)
    }

    /// Whether `source` may do this to `target`: a deny wins over every allow, no allow means no.
    #[must_use]
    pub fn decide(&self, source: &Domain, action: Action, target: &Domain) -> Decision {
        self.decide_for(Source::Domain(source), action, target)
    }

    /// The same for whoever may ask.
    #[must_use]
    pub fn decide_for(&self, source: Source<'_>, action: Action, target: &Domain) -> Decision {
        let ground = self.ground(source, action, target);
        Decision { allowed: ground.allows(), rule: ground.to_string() }
    }

    /// Whether that allows it, without the words.
    #[must_use]
    pub fn allows(&self, source: Source<'_>, action: Action, target: &Domain) -> bool {
        self.ground(source, action, target).allows()
    }

    fn ground<'a>(&'a self, source: Source<'a>, action: Action, target: &Domain) -> Ground<'a> {
        if let Some(why) = &self.closed {
            return Ground::Closed(why);
        }
        let fits = |deny: bool| self.rules.iter().find(|r| r.deny == deny && r.fits(source, action, target));
        if let Some(rule) = fits(true).or_else(|| fits(false)) {
            return Ground::Rule(rule);
        }
        match (source.cluster(), &target.cluster) {
            (Some(label), Some(other)) if label == other => Ground::SameCluster(label),
            _ => Ground::Nothing,
        }
    }

    /// The target of this claim, if the guest may do this to it. An unknown target is refused just as a foreign one; both for
    /// now only, as [`Reason::Busy`], until all domains are known.
    pub fn target(&self, claim: Claim<'_>, inventory: &Inventory) -> Result<Arc<Domain>, Refusal> {
        self.may_ask(claim.guest, claim.action, inventory)?;
        let source = inventory.get(claim.guest.uuid()).map(|domain| Source::Domain(domain));
        self.allowed(source, claim.action, claim.target, inventory).map(|(target, _)| target)
    }

    /// The same for a caller of a legacy dialect.
    pub fn target_for(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target,
        inventory: &Inventory,
    ) -> Result<Arc<Domain>, Refusal> {
        self.may_call(caller, action, inventory)?;
        self.allowed(Source::of(caller, inventory), action, target, inventory).map(|(target, _)| target)
    }

    fn allowed(
        &self,
        source: Option<Source<'_>>,
        action: Action,
        target: &Target,
        inventory: &Inventory,
    ) -> Result<(Arc<Domain>, String), Refusal> {
        let refuse = |rule: String| not_permitted(rule, inventory);
        let source = source.ok_or_else(|| refuse("the asker is not known".into()))?;
        let nobody = || match inventory.is_shared(target) {
            true => {
                "two domains have this name, and the process of one that libvirt has forgotten lives: use the UUID"
            }
            false => "no such domain on this host",
        };
        let target = inventory.find(target).ok_or_else(|| refuse(nobody().into()))?;
        let decision = self.decide_for(source, action, target);
        if decision.allowed { Ok((target.clone(), decision.rule)) } else { Err(refuse(decision.rule)) }
    }

    /// Whether what this guest asks is signed as it has to be, for this action on whatever target, and can be answered yet.
    ///
    /// # Errors
    /// What is missing.
    pub fn may_ask(&self, guest: &Guest, action: Action, inventory: &Inventory) -> Result<(), Refusal> {
        match inventory.get(guest.uuid()) {
            Some(source) => self.check_signature(source, action, guest.signer())?,
            None if !self.has_keys() => {}
            // Whether it has to sign cannot be known.
            None => return Err(not_permitted("the asker is not known".into(), inventory)),
        }
        can_be_told(action, inventory)
    }

    /// The same for a caller of a legacy dialect, none of which can sign.
    ///
    /// # Errors
    /// The caller is a guest that has to.
    pub fn may_call(&self, caller: &Caller, action: Action, inventory: &Inventory) -> Result<(), Refusal> {
        match caller {
            Caller::Guest(guest) => self.may_ask(guest, action, inventory),
            Caller::Peer(_) => can_be_told(action, inventory),
        }
    }

    /// The permit for a power request.
    pub fn permit(
        &self,
        guest: &Guest,
        power: Power,
        target: &Target,
        inventory: &Inventory,
    ) -> Result<Permit, Refusal> {
        self.may_ask(guest, power.into(), inventory)?;
        alive(guest)?;
        let source = inventory.get(guest.uuid()).map(|domain| Source::Domain(domain));
        let (domain, rule) = self.allowed(source, power.into(), target, inventory)?;
        let key = guest.signer().map(|signer| format!("; signed with key {}", signer.id()));
        let rule = rule + &key.unwrap_or_default();
        Ok(Permit::new(guest.asker(), (domain.uuid, domain.name.clone()), power, rule))
    }

    /// The permit for a power request of a legacy dialect.
    pub fn permit_for(
        &self,
        caller: &Caller,
        power: Power,
        target: &Target,
        inventory: &Inventory,
    ) -> Result<Permit, Refusal> {
        self.may_call(caller, power.into(), inventory)?;
        if let Caller::Guest(guest) = caller {
            alive(guest)?;
        }
        let source = Source::of(caller, inventory);
        let (domain, rule) = self.allowed(source, power.into(), target, inventory)?;
        Ok(Permit::new(caller.asker(), (domain.uuid, domain.name.clone()), power, rule))
    }
}

/// Before libvirt has told of all its domains nothing can be refused for good, and what is foreign still looks as if it were unknown.
fn not_permitted(rule: String, inventory: &Inventory) -> Refusal {
    let reason = if inventory.has_all() { Reason::NotPermitted } else { Reason::Busy };
    Refusal { reason, rule }
}

/// A list is of all domains.
fn can_be_told(action: Action, inventory: &Inventory) -> Result<(), Refusal> {
    if action == Action::List && !inventory.is_complete() {
        return Err(not_permitted("libvirt has not listed all domains yet".into(), inventory));
    }
    Ok(())
}

/// The dead change nothing: what a guest's process had still written when it ended is read, and refused.
fn alive(guest: &Guest) -> Result<(), Refusal> {
    if guest.instance().process.is_gone() {
        return Err(Refusal { reason: Reason::Condemned, rule: "the guest's own process has ended".into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
