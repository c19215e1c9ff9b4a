//! The right to act on one target, once.
//!
//! Invariant: only [`super::Policy::permit`] makes a [`Permit`], so whoever holds one was allowed to; the journal gives back
//! what it was given.

use fence_vmchannel_protocol::{Name, Power};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::identity::Asker;

/// A guest may do this to that target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    asker: Asker,
    target: Uuid,
    name: Name,
    power: Power,
    rule: String,
}

impl Permit {
    pub(super) fn new(asker: Asker, (target, name): (Uuid, Name), power: Power, rule: String) -> Self {
        Self { asker, target, name, power, rule }
    }

    /// Who asked.
    #[must_use]
    pub fn asker(&self) -> &Asker {
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
