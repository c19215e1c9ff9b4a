//! What the agent needs from a hypervisor, and nothing more.
//!
//! In:  a [`Permit`] and its steps. Out: facts, or that nothing could be learned.
//!
//! Invariant: whoever changes a domain holds a [`Permit`]; no method waits without a deadline of its own.

pub mod libvirt;
pub mod simulated;

/// No migration comes and goes in less than this: what libvirt said of one is good for so long.
pub const WORD_IS_GOOD_FOR: std::time::Duration = std::time::Duration::from_millis(250);

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{Domain, InstanceId, Job, Sighting, Standing};
use crate::policy::Permit;

/// Why a hypervisor call brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no connection now.
    #[error("libvirt cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer within its deadline; the call may still take effect.
    #[error("libvirt did not answer within {0:?}")]
    Deadline(std::time::Duration),
    /// Too many calls are under way or hang.
    #[error("too many calls of libvirt are under way: see whether it hangs")]
    Busy,
    /// It does not know the domain.
    #[error("libvirt does not know this domain")]
    NoDomain,
    /// It was to be stopped and does not run, for whatever reason.
    #[error("libvirt says that it does not run")]
    NotRunning,
    /// It refused or failed.
    #[error("libvirt: {0}")]
    Failed(String),
}

/// What happened on the host, as far as it matters here. Only ever a reason to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// One domain changed.
    Domain(Uuid),
    /// One domain was paused for the last moments of a migration. A look may come too late to see that.
    Leaves(Uuid),
    /// Anything may have changed: a connect, also the first, or events were lost.
    Everything,
    /// The connection is gone.
    Lost,
}

/// How a stopped domain can be started again; taken while it still runs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// libvirt keeps its definition.
    Defined,
    /// Its definition goes with its run: this XML, with its secrets, makes it anew.
    Transient(String),
}

/// Without the XML: it holds secrets.
impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Defined => "Defined",
            Self::Transient(_) => "Transient",
        })
    }
}

/// The hypervisor of this host.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// Whether libvirt answered not long ago and the connection stands.
    fn is_connected(&self) -> bool;
    /// Whether no real machine stands behind it.
    fn is_simulated(&self) -> bool;
    /// The next change. Cancel safe; a consumer that is slow gets [`Change::Everything`].
    async fn changed(&self) -> Change;
    /// Every domain, asked now.
    async fn domains(&self) -> Result<Vec<Domain>, CallError>;
    /// One domain, asked now.
    async fn domain(&self, uuid: Uuid) -> Result<Domain, CallError>;
    /// The domain's process as the host's files tell it now, without libvirt. Cheap; never waits: of a process that is new nothing
    /// is sure.
    fn instance_now(&self, domain: &Domain) -> Sighting;
    /// The same, after reading what must be read of a process that is new. That process can keep it waiting, for a second.
    async fn instance_read(&self, domain: &Domain) -> Sighting {
        self.instance_now(domain)
    }
    /// The names of all domains of which the host's files tell a process now: one look instead of one for each of many.
    /// `None` where there is no such look.
    fn named_now(&self) -> Option<BTreeSet<String>> {
        None
    }
    /// The domain's process among all processes of the host, whatever libvirt and its files say. The look is
    /// begun now, or was at most `age` ago. It is good for stopping it and for knowing that there is none; it is nobody's
    /// identity.
    async fn process_of(&self, uuid: Uuid, age: Duration) -> Sighting;
    /// The same at once, where the last look is good for it.
    fn process_seen(&self, _uuid: Uuid, _age: Duration) -> Option<Sighting> {
        None
    }
    /// The domains that have a process now, whatever libvirt says, as far as anybody could look.
    async fn running(&self) -> Vec<Uuid> {
        Vec::new()
    }
    /// The process that was this instance, held again after a restart of the agent. Another process with its number is
    /// not it.
    fn instance_again(&self, id: InstanceId) -> Sighting;
    /// What libvirt says of the domain now, for an order.
    async fn standing(&self, uuid: Uuid) -> Result<Standing, CallError>;
    /// The same for a question that changes nothing, and that must not keep orders waiting.
    async fn standing_for_a_look(&self, uuid: Uuid) -> Result<Standing, CallError> {
        self.standing(uuid).await
    }
    /// Whether the domain is migrating; asked of a libvirt that answers `within` so long of when it is asked.
    async fn job(&self, permit: &Permit, within: Duration) -> Result<Job, CallError>;
    /// Aborts the domain's migration; returns when it is over, whichever way.
    async fn abort_job(&self, permit: &Permit) -> Result<(), CallError>;
    /// How to start the domain again after it was stopped.
    async fn recipe(&self, permit: &Permit) -> Result<Recipe, CallError>;
    /// Stops the domain at once, and one that migrates not at all: where `asked`, when libvirt was asked about that, is long
    /// ago by the time that it comes to it, libvirt is asked again. Its return is no evidence, either way;
    /// [`CallError::NotRunning`] if it was not libvirt's to stop.
    async fn stop(&self, permit: &Permit, asked: Instant) -> Result<(), CallError>;
    /// Starts the domain freshly, never from a saved state. An already running one is no error.
    async fn start(&self, permit: &Permit, recipe: &Recipe) -> Result<(), CallError>;
    /// Waits until no start of this domain is under way, not even one that nobody waits for any more: libvirt may still do it.
    async fn no_start_is_under_way(&self, _uuid: Uuid) {}
}
