//! Replies: what a guest may know.
//!
//! In:  what the host decided. Out: the closed list of things that can be said to a guest.
//!
//! Invariant: `done` with state `off` carries evidence; there is no "no such domain", only `not-permitted`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::host_status::HostStatus;
use crate::words::{Name, RequestId};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

pub(crate) use words;

words! {
    /// What proves that a target is off.
    Evidence {
        /// The pidfd of the instance that was to be stopped says that its process is gone.
        ProcessGone = "process-gone",
        /// libvirt, asked now, says shut off, and no process with the UUID exists.
        NeverRanHere = "never-ran-here",
        /// The owner's agent on another host proved it.
        OwnerSays = "owner-says",
        /// The host that ran it was fenced after it was lost.
        HostFenced = "host-fenced",
    }
}

words! {
    /// Whether a target runs.
    PowerState {
        /// It runs, or could still write.
        On = "on",
        /// It does not run.
        Off = "off",
    }
}

words! {
    /// How far an order is.
    Phase {
        /// The order stands.
        Accepted = "accepted",
        /// libvirt was asked to stop the target.
        Stopping = "stopping",
        /// The target did not stop in time and was sent SIGKILL.
        Killing = "killing",
        /// The target is off and is being started.
        Starting = "starting",
    }
}

words! {
    /// Why something was refused or failed.
    Reason {
        /// The policy does not allow it, or there is no such target: a guest cannot tell which.
        NotPermitted = "not-permitted",
        /// The asker is itself being fenced.
        Condemned = "condemned",
        /// Too many requests.
        RateLimited = "rate-limited",
        /// The request is malformed.
        BadRequest = "bad-request",
        /// The line is malformed.
        BadFrame = "bad-frame",
        /// The signature is missing, wrong or not allowed to do this.
        BadSignature = "bad-signature",
        /// More than one domain has this name.
        AmbiguousName = "ambiguous-name",
        /// The state could not be learned.
        UnknownState = "unknown-state",
        /// The process did not die.
        CannotKill = "cannot-kill",
        /// The target could not be started.
        StartFailed = "start-failed",
        /// This partition has no quorum.
        NoQuorum = "no-quorum",
        /// The host that ran the target is lost.
        HostLost = "host-lost",
        /// The target moved to another host.
        Moved = "moved",
        /// The deadline passed.
        Timeout = "timeout",
        /// Too much is under way.
        Busy = "busy",
        /// The agent is shutting down.
        Stopping = "stopping",
        /// This host does not do that.
        Unsupported = "unsupported",
    }
}

/// The end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It was done.
    Done,
    /// It was not allowed; nothing was done.
    Refused(Reason),
    /// It could not be done, or not proven.
    Failed(Reason),
}

/// The final answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How it ended.
    pub ruling: Ruling,
    /// The target's state, where it applies.
    pub state: Option<PowerState>,
    /// What proves `off`.
    pub evidence: Option<Evidence>,
    /// The target.
    pub uuid: Option<Uuid>,
    /// How long the host worked on it.
    pub took: Option<Duration>,
    /// A short text for people.
    pub detail: Option<String>,
    /// True where no real machine stands behind the answer (`run --simulate`).
    pub simulated: bool,
}

impl Verdict {
    /// A ruling and nothing more.
    #[must_use]
    pub fn new(ruling: Ruling) -> Self {
        Self { ruling, state: None, evidence: None, uuid: None, took: None, detail: None, simulated: false }
    }

    /// A refusal.
    #[must_use]
    pub fn refused(reason: Reason) -> Self {
        Self::new(Ruling::Refused(reason))
    }

    /// A failure, with its reason in words.
    #[must_use]
    pub fn failed(reason: Reason, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(Ruling::Failed(reason)) }
    }
}

/// One target in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name.
    pub name: Name,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its state; `None` where it could not be learned.
    pub state: Option<PowerState>,
}

/// Who the host says the guest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestIdentity {
    /// Its domain's name.
    pub name: Name,
    /// Its domain's UUID.
    pub uuid: Uuid,
    /// Its cluster label, if it has one.
    pub cluster: Option<String>,
}

/// The host's greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The program and its version.
    pub server: String,
    /// The protocol's version.
    pub protocol: u32,
    /// The host's random number for this connection, 32 hex digits.
    pub nonce: String,
    /// Who the guest is.
    pub guest: GuestIdentity,
    /// What can be asked.
    pub ops: Vec<String>,
    /// Bytes of the longest line.
    pub line_bytes: usize,
}

/// What a reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The order runs.
    Progress(Phase, Duration),
    /// The end.
    Verdict(Verdict),
    /// A part of a list; `true` when more parts follow.
    Items(Vec<Item>, bool),
    /// The answer to `hello`.
    Hello(Hello),
    /// The answer to `whoami`.
    Whoami(GuestIdentity),
    /// The answer to `host-status`.
    HostStatus(Box<HostStatus>),
}

/// One reply of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The id of the request that it answers.
    pub id: RequestId,
    /// What it says.
    pub body: Body,
}

impl Reply {
    /// Whether nothing more comes for this request.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match &self.body {
            Body::Progress(..) => false,
            Body::Items(_, more) => !more,
            Body::Verdict(_) | Body::Hello(_) | Body::Whoami(_) | Body::HostStatus(_) => true,
        }
    }
}
