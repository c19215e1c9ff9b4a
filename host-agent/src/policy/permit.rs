//! The right to act on one target, once.
//!
//! Invariant: only [`super::Policy::decide`] makes a [`Permit`], so whoever holds one was allowed to.

use fence_vmchannel_protocol::{Name, Power};
use uuid::Uuid;

use crate::identity::Guest;

/// A guest may do this to that target.
#[derive(Debug, Clone)]
pub struct Permit {
    asker: Guest,
    target: Uuid,
    name: Name,
    power: Power,
    rule: String,
}

impl Permit {
    pub(super) fn new(asker: Guest, (target, name): (Uuid, Name), power: Power, rule: String) -> Self {
        Self { asker, target, name, power, rule }
    }

    /// Who asked.
    #[must_use]
    pub fn asker(&self) -> &Guest {
        &self.asker
    }

    /// The target's UUID.
    #[must_use]
    pub fn target(&self) -> Uuid {
        self.target
    }

    /// The target's name when this was decided.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What may be done.
    #[must_use]
    pub fn power(&self) -> Power {
        self.power
    }

    /// The rule that allowed it.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }
}
