//! The actions of the fence agent API.
//!
//! In:  an action's word. Out: an [`Action`], and what it asks of the host.
//!
//! Invariant: an action that needs a target becomes no request without one.

use std::str::FromStr;

use fence_vmchannel_protocol::{Ask, Power, Target};

/// What the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stop the target.
    Off,
    /// Start the target.
    On,
    /// Stop the target, then start it.
    Reboot,
    /// Is the target on or off.
    Status,
    /// The targets, as `name,uuid` lines.
    List,
    /// The targets, as `name,uuid,state` lines.
    ListStatus,
    /// Is the host able to act.
    Monitor,
    /// Describe this program in XML.
    Metadata,
    /// Are the options usable.
    ValidateAll,
    /// Do nothing.
    Null,
    /// What is at the other end.
    Hello,
    /// Whom the host takes this guest for.
    Whoami,
    /// How the host is.
    HostStatus,
}

/// Why a word is no action, or an action no request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ActionError {
    /// No such action.
    #[error("there is no action {word:?}; there are: {}", Action::words())]
    Unknown {
        /// What was given.
        word: String,
    },
    /// The action is about a target and none was named.
    #[error("the action {} needs a target: name it by --plug NAME-OR-UUID (on standard input: plug=)", .action.word())]
    NoTarget {
        /// The action.
        action: Action,
    },
}

impl Action {
    /// What fence agents do when they are not told.
    pub const DEFAULT: Self = Self::Reboot;

    /// Every action, in the order in which they are told to people.
    pub const ALL: [Self; 13] = [
        Self::On,
        Self::Off,
        Self::Reboot,
        Self::Status,
        Self::List,
        Self::ListStatus,
        Self::Monitor,
        Self::Metadata,
        Self::ValidateAll,
        Self::Null,
        Self::Hello,
        Self::Whoami,
        Self::HostStatus,
    ];

    /// The action's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Reboot => "reboot",
            Self::Status => "status",
            Self::List => "list",
            Self::ListStatus => "list-status",
            Self::Monitor => "monitor",
            Self::Metadata => "metadata",
            Self::ValidateAll => "validate-all",
            Self::Null => "null",
            Self::Hello => "hello",
            Self::Whoami => "whoami",
            Self::HostStatus => "host-status",
        }
    }

    fn words() -> String {
        Self::ALL.map(Self::word).join(", ")
    }

    /// What to ask the host; `None` where nothing has to be asked.
    ///
    /// # Errors
    /// [`ActionError::NoTarget`].
    pub fn ask(self, target: Option<Target>) -> Result<Option<Ask>, ActionError> {
        let target = || target.ok_or(ActionError::NoTarget { action: self });
        Ok(Some(match self {
            Self::Metadata | Self::ValidateAll | Self::Null => return Ok(None),
            Self::Off => Ask::Power(Power::Off, target()?),
            Self::On => Ask::Power(Power::On, target()?),
            Self::Reboot => Ask::Power(Power::Reboot, target()?),
            Self::Status => Ask::Status(target()?),
            Self::List | Self::ListStatus => Ask::List,
            Self::Monitor => Ask::Monitor,
            Self::Hello => Ask::Hello,
            Self::Whoami => Ask::Whoami,
            Self::HostStatus => Ask::HostStatus,
        }))
    }
}

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(word: &str) -> Result<Self, ActionError> {
        // As OCF writes it, and so some who call fence agents.
        if word.eq_ignore_ascii_case("meta-data") {
            return Ok(Self::Metadata);
        }
        let found = Self::ALL.into_iter().find(|action| action.word().eq_ignore_ascii_case(word));
        found.ok_or_else(|| ActionError::Unknown { word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_asked_for_in_both_spellings() {
        for word in ["metadata", "meta-data", "Meta-Data"] {
            assert_eq!(word.parse(), Ok(Action::Metadata), "{word}");
        }
        assert!("meta".parse::<Action>().is_err());
    }
}
