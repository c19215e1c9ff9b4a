//! The socket through which the operator's commands ask the running agent.
//!
//! In:  a [`Question`], one JSON line. Out: an [`Answer`], one JSON line.
//!
//! Invariant: the socket belongs to root alone (0600), and a question changes nothing.

mod ask;
mod serve;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use ask::{AskError, ask};
pub use serve::serve;

/// What the operator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "kebab-case")]
pub enum Question {
    /// Which domains are known, and how their channels are.
    Guests,
    /// Which rule decides when `source` asks for `action` on `target` (names or UUIDs).
    Explain {
        /// The asking domain.
        source: String,
        /// `status`, `list`, `off`, `on`, `reboot` or `host-status`.
        action: String,
        /// The target domain.
        target: String,
    },
    /// Look at this domain now: what is only defined while it runs is told by no event.
    Look {
        /// The domain.
        domain: Uuid,
    },
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Question::Guests`].
    Guests {
        /// Whether libvirt answers.
        libvirt_connected: bool,
        /// Policy files that are not used, and why.
        problems: Vec<String>,
        /// The domains, by name.
        guests: Vec<GuestReport>,
    },
    /// To [`Question::Explain`].
    Explain {
        /// Whether it is allowed.
        allowed: bool,
        /// The deciding rule, with its file and line, in words.
        rule: String,
    },
    /// To [`Question::Look`]: it looks.
    Looks,
    /// The question could not be answered.
    Error {
        /// Why, and what to do.
        text: String,
    },
}

/// One domain, as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestReport {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// `on`, `off` or `unknown`.
    pub state: String,
    /// Its cluster label.
    pub cluster: Option<String>,
    /// QEMU's pid, while it runs.
    pub pid: Option<i32>,
    /// Its channels; none means that it cannot ask.
    pub channels: Vec<ChannelReport>,
}

/// One channel, as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelReport {
    /// `virtio` or `serial`.
    pub port: String,
    /// `connect` or `bind`.
    pub mode: String,
    /// The socket.
    pub path: PathBuf,
    /// `served`, `waiting` (for QEMU), `occupied` (by another program) or `failed: WHY`.
    pub state: String,
}
