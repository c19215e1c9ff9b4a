//! One rule: who, what, to whom.
//!
//! Invariant: a name, a UUID, a group and a cluster label are four different things and are never mistaken for
//! each other.

use std::fmt;
use std::str::FromStr;

use fence_vmchannel_protocol::{Name, Power};
use uuid::Uuid;

use super::Source;
use crate::domain::Domain;

/// What a rule can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Learn the target's state.
    Status,
    /// See the target in lists.
    List,
    /// Stop it.
    Off,
    /// Start it.
    On,
    /// Stop and start it.
    Reboot,
    /// Know of the host that it runs on; asked for by each guest for itself.
    HostStatus,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 6] =
        [Self::Status, Self::List, Self::Off, Self::On, Self::Reboot, Self::HostStatus];

    /// Its word in policy files and commands.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::List => "list",
            Self::Off => "off",
            Self::On => "on",
            Self::Reboot => "reboot",
            Self::HostStatus => "host-status",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|action| action.word() == word);
        known.ok_or_else(|| {
            format!("unknown action {word:?}: expected status, list, off, on, reboot or host-status")
        })
    }
}

impl From<Power> for Action {
    fn from(power: Power) -> Self {
        match power {
            Power::Off => Self::Off,
            Power::On => Self::On,
            Power::Reboot => Self::Reboot,
        }
    }
}

/// Whom a rule means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selector {
    Everyone,
    Cluster(String),
    Uuid(Uuid),
    Name(Name),
}

impl Selector {
    pub(super) fn fits(&self, domain: &Domain) -> bool {
        match self {
            Self::Everyone => true,
            Self::Cluster(label) => domain.cluster.as_ref() == Some(label),
            Self::Uuid(uuid) => domain.uuid == *uuid,
            Self::Name(name) => domain.name == *name,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("*"),
            Self::Cluster(label) => write!(f, "cluster:{label}"),
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Everyone);
        }
        if let Some(label) = text.strip_prefix("cluster:") {
            return if label.is_empty() {
                Err("`cluster:` needs a label".into())
            } else {
                Ok(Self::Cluster(label.into()))
            };
        }
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(Self::Uuid(uuid)),
            _ => text.parse().map(Self::Name).map_err(|e| format!("{text:?}: {e}")),
        }
    }
}

/// One rule of a policy file.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) deny: bool,
    pub(super) from: Vec<Selector>,
    pub(super) to: Vec<Selector>,
    pub(super) actions: Vec<Action>,
    /// File and line.
    pub(super) place: String,
}

impl Rule {
    pub(super) fn fits(&self, source: Source<'_>, action: Action, target: &Domain) -> bool {
        self.actions.contains(&action)
            && self.from.iter().any(|s| self.is_from(s, source))
            && self.to.iter().any(|s| s.fits(target))
    }

    /// `*` allows every guest and denies everybody: a peer on a network is no guest.
    fn is_from(&self, selector: &Selector, source: Source<'_>) -> bool {
        match (source, selector) {
            (Source::Domain(domain), selector) => selector.fits(domain),
            (Source::Network(_), Selector::Everyone) => self.deny,
            (Source::Network(label), Selector::Cluster(named)) => label == named,
            (Source::Network(_), Selector::Uuid(_) | Selector::Name(_)) => false,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", if self.deny { "[[deny]]" } else { "[[allow]]" }, self.place)
    }
}
