//! Which guests have to sign their requests, with which keys, and what each key may do.
//!
//! In:  the `[[signed]]` tables of policy files; a guest and its signed line. Out: the [`Signer`], or a [`Refusal`].
//!
//! Invariant: a guest that has to sign does nothing without a listed key, also while no such key can be read; whether a key
//! exists cannot be learned from a refusal, nor from how long it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fence_vmchannel_protocol::signing::{Direction, Key, KeyId, Nonce};
use fence_vmchannel_protocol::{Reason, Seal, SignedLine};

use super::rule::{Action, Selector};
use super::{Decision, Policy, Refusal};
use crate::domain::Domain;

/// How [`Policy::explain`] begins where no key will do.
pub const NO_KEY: &str = "no key that can be used may do";

/// A `[[signed]]` table.
#[derive(Debug)]
pub struct KeyRule {
    pub(super) from: Vec<Selector>,
    pub(super) keys: Vec<ListedKey>,
    /// File and line.
    pub(super) place: String,
}

/// One of its keys.
#[derive(Debug)]
pub struct ListedKey {
    pub(super) id: KeyId,
    pub(super) file: PathBuf,
    /// `None` while its file cannot be used.
    pub(super) key: Option<Arc<Key>>,
    pub(super) actions: Vec<Action>,
}

impl KeyRule {
    /// Whether this domain has to sign by this rule.
    #[must_use]
    pub fn is_about(&self, source: &Domain) -> bool {
        self.from.iter().any(|selector| selector.fits(source))
    }

    /// Whom it is about, as words of a policy file.
    #[must_use]
    pub fn from(&self) -> Vec<String> {
        self.from.iter().map(ToString::to_string).collect()
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &[ListedKey] {
        &self.keys
    }

    /// File and line.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl ListedKey {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What may be asked with it.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Whether its file could be read.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.key.is_some()
    }
}

/// The key that a request was signed with. Only [`Policy::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    id: KeyId,
    file: PathBuf,
}

impl Signer {
    /// The key's name.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    fn is(&self, listed: &ListedKey) -> bool {
        self.id == listed.id && self.file == listed.file
    }
}

/// A signed line whose signature is right.
#[derive(Debug)]
pub struct Opened {
    /// What was signed.
    pub json: Vec<u8>,
    /// With which key.
    pub signer: Signer,
    /// How the replies are to be signed.
    pub seal: Seal,
}

impl Policy {
    /// Opens a signed line with one of the guest's keys. `None` says no more than that this cannot be done.
    #[must_use]
    pub fn open(&self, source: &Domain, line: &SignedLine, nonce: Nonce) -> Option<Opened> {
        let listed = self.keys_of(source).filter(|listed| listed.id == *line.key());
        let fitting: Vec<_> = listed.filter_map(|listed| Some((listed, listed.key.as_ref()?))).collect();
        if fitting.is_empty() {
            // As much work as for a key that exists.
            let decoy = Key::try_from(vec![0; 32]).ok()?;
            let _never_right = line.clone().open(&decoy, &nonce, Direction::Request);
            return None;
        }
        fitting.into_iter().find_map(|(listed, key)| {
            let json = line.clone().open(key, &nonce, Direction::Request).ok()?;
            let signer = Signer { id: listed.id.clone(), file: listed.file.clone() };
            let seal = Seal::Signature { key: key.clone(), id: listed.id.clone(), nonce };
            Some(Opened { json, signer, seal })
        })
    }

    /// Whether a request that was signed like this, or not at all, may ask for this action.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_signature(
        &self,
        source: &Domain,
        action: Action,
        signer: Option<&Signer>,
    ) -> Result<(), Refusal> {
        let mut rules = self.key_rules_of(source).peekable();
        let Some(first) = rules.peek() else { return Ok(()) };
        let place = &first.place;
        let Some(signer) = signer else {
            let rule = format!("its requests must be signed ([[signed]] at {place})");
            return Err(Refusal { reason: Reason::BadSignature, rule });
        };
        let id = signer.id();
        let mut keys = rules.flat_map(|rule| &rule.keys).filter(|listed| signer.is(listed)).peekable();
        if keys.peek().is_none() {
            let rule = format!("key {id} is not listed any more ([[signed]] at {place})");
            return Err(Refusal { reason: Reason::BadSignature, rule });
        }
        if keys.any(|listed| listed.actions.contains(&action)) {
            return Ok(());
        }
        let rule = format!("key {id} may not do {action} ([[signed]] at {place})");
        Err(Refusal { reason: Reason::NotPermitted, rule })
    }

    /// Who has to sign.
    #[must_use]
    pub fn key_rules(&self) -> &[KeyRule] {
        &self.key_rules
    }

    /// Whether any guest has to sign.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.key_rules.is_empty()
    }

    /// What the rules say, and with which keys the source has to sign.
    #[must_use]
    pub fn explain(&self, source: &Domain, action: Action, target: &Domain) -> Decision {
        let decision = self.decide(source, action, target);
        let Some(rule) = self.key_rules_of(source).next().filter(|_| decision.allowed) else {
            return decision;
        };
        let fitting = self.keys_of(source).filter(|listed| listed.actions.contains(&action));
        let usable: Vec<_> = fitting.filter(|key| key.key.is_some()).map(|key| key.id.as_str()).collect();
        let (told, place) = (decision.rule, &rule.place);
        if usable.is_empty() {
            let rule = format!("{NO_KEY} {action} ([[signed]] at {place}), though {told}");
            return Decision { allowed: false, rule };
        }
        let keys = usable.join(" or ");
        Decision { allowed: true, rule: format!("{told}; signed with key {keys} ([[signed]] at {place})") }
    }

    fn key_rules_of(&self, source: &Domain) -> impl Iterator<Item = &KeyRule> {
        self.key_rules.iter().filter(|rule| rule.is_about(source))
    }

    fn keys_of(&self, source: &Domain) -> impl Iterator<Item = &ListedKey> {
        self.key_rules_of(source).flat_map(|rule| &rule.keys)
    }
}

/// Where a key's file is: beside the policy file that names it, unless its path is absolute.
pub(super) fn beside(policy_file: &Path, key_file: &str) -> PathBuf {
    policy_file.parent().unwrap_or(Path::new("")).join(key_file)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
