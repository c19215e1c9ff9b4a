//! What a guest may know of its host.
//!
//! In:  what the host's agent found out. Out: the body of the answer to `host-status`.
//!
//! Invariant: every text is short printable ASCII without quotes and backslashes, so the largest answer is one line and
//! can be printed and parsed by a shell as it is. An attribute without a value is unknown; a value that is too old
//! is never sent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{ATTRIBUTE_NAME_BYTES, PLAIN_TEXT_BYTES};
use crate::reply::words;

words! {
    /// Whether the host's agent can be relied on just now.
    AgentHealth {
        /// It serves.
        Ok = "ok",
        /// It does not know all its domains yet.
        Starting = "starting",
        /// It is shutting down.
        Stopping = "stopping",
    }
}

words! {
    /// Whether the host's agent has libvirt.
    LibvirtHealth {
        /// It is connected.
        Connected = "connected",
        /// It is not: a stopped machine's status is unknown meanwhile, and none is started.
        Away = "away",
    }
}

/// Why a text is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// An attribute's name.
    #[error(
        "an attribute's name is 1 to {ATTRIBUTE_NAME_BYTES} letters, digits, `_`, `.` or `-`, and begins with a letter"
    )]
    Name,
    /// A value or a host's name.
    #[error("a text is 1 to {PLAIN_TEXT_BYTES} printable ASCII characters without quotes and backslashes")]
    Plain,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $error:expr, $right:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                let right: fn(&str) -> bool = $right;
                if right(&text) { Ok(Self(text)) } else { Err($error) }
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text! {
    /// An attribute's name.
    AttributeName, TextError::Name, |text| {
        (1..=ATTRIBUTE_NAME_BYTES).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
    }
}

checked_text! {
    /// A short text of printable ASCII.
    PlainText, TextError::Plain, |text| {
        (1..=PLAIN_TEXT_BYTES).contains(&text.len())
            && text.trim().len() == text.len()
            && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\' | b'`'))
    }
}

/// One thing that the host's administrator lets guests know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: AttributeName,
    /// Its value; `None` while it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<PlainText>,
    /// Seconds since it was last found out, for an unknown one too; `None` if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
}

/// What a guest may know of its host. What is hidden or unknown is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// The agent.
    pub agent: AgentHealth,
    /// Its libvirt.
    pub libvirt: LibvirtHealth,
    /// The host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<PlainText>,
    /// Whether the host's administrator has announced maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<bool>,
    /// The load of the last 1, 5 and 15 minutes, in hundredths: 100 is one busy processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_percent: Option<[u32; 3]>,
    /// How many processors the host has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processors: Option<u32>,
    /// Seconds since the host's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// What else the administrator lets guests know, by name.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// True where no real machines stand behind the agent (`run --simulate`).
    #[serde(skip)]
    pub simulated: bool,
}
