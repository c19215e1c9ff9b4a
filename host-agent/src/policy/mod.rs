//! Who may do what to whom.
//!
//! In:  a [`Claim`] and the inventory. Out: a [`Permit`], or a [`Refusal`] that says no more than it must.
//!
//! Invariant: default deny; pure; only the host's administrator writes what is decided by (domain metadata and
//! `policy.d`), nothing from the guest counts.

mod file;
mod key_file;
mod keys;
mod permit;
mod rule;

use fence_vmchannel_protocol::{Power, Reason, Target};

use crate::domain::Domain;
use crate::identity::Guest;
use crate::inventory::Inventory;
pub use file::{Loaded, Problem};
use keys::KeyRule;
pub use keys::{NO_KEY, Opened, Signer};
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
        file::load(dir)
    }

    /// The rules in the texts of policy files, in their order, and what is wrong with them.
    #[must_use]
    pub fn read(files: impl IntoIterator<Item = (std::io::Result<String>, std::path::PathBuf)>) -> Loaded {
        file::read(files)
    }

    /// Whether `source` may do this to `target`: a deny wins over every allow, no allow means no.
    #[must_use]
    pub fn decide(&self, source: &Domain, action: Action, target: &Domain) -> Decision {
        if let Some(why) = &self.closed {
            return Decision { allowed: false, rule: why.clone() };
        }
        let fits = |deny: bool| self.rules.iter().find(|r| r.deny == deny && r.fits(source, action, target));
        if let Some(rule) = fits(true).or_else(|| fits(false)) {
            return Decision { allowed: !rule.deny, rule: rule.to_string() };
        }
        match (&source.cluster, &target.cluster) {
            (Some(label), Some(other)) if label == other => Decision {
                allowed: true,
                rule: format!("both are members of cluster {label:?} (domain metadata)"),
            },
            _ => Decision { allowed: false, rule: "no rule allows it (default deny)".into() },
        }
    }

    /// The target of this claim, if the guest may do this to it. An unknown target is refused just as a foreign one.
    pub fn target(&self, claim: Claim<'_>, inventory: &Inventory) -> Result<std::sync::Arc<Domain>, Refusal> {
        let refuse = |rule: String| Refusal { reason: Reason::NotPermitted, rule };
        self.may_ask(claim.guest, claim.action, inventory)?;
        let source =
            inventory.get(claim.guest.uuid()).ok_or_else(|| refuse("the asker is not known".into()))?;
        let target =
            inventory.find(claim.target).ok_or_else(|| refuse("no such domain on this host".into()))?;
        let decision = self.decide(source, claim.action, target);
        if decision.allowed { Ok(target.clone()) } else { Err(refuse(decision.rule)) }
    }

    /// Whether what this guest asks is signed as it has to be, for this action on whatever target.
    ///
    /// # Errors
    /// What is missing.
    pub fn may_ask(&self, guest: &Guest, action: Action, inventory: &Inventory) -> Result<(), Refusal> {
        match inventory.get(guest.uuid()) {
            Some(source) => self.check_signature(source, action, guest.signer()),
            None if !self.has_keys() => Ok(()),
            // Whether it has to sign cannot be known.
            None => Err(Refusal { reason: Reason::NotPermitted, rule: "the asker is not known".into() }),
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
        let action = Action::from(power);
        let domain = self.target(Claim { guest, action, target }, inventory)?;
        let source = inventory.get(guest.uuid());
        let rule = source.map(|source| self.decide(source, action, &domain).rule).unwrap_or_default();
        Ok(Permit::new(guest.asker(), (domain.uuid, domain.name.clone()), power, rule))
    }
}

#[cfg(test)]
mod tests;
