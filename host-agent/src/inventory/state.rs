//! Whether a domain runs: the one table that `status` and `list` both answer from (safety.md, States).
//!
//! In:  what is known of a domain, its process now. Out: on, off, or the reason why nothing can be said.
//!
//! Invariant: `off` needs libvirt's word over a connection that stands *and* that no process of it is there now. Anything
//! less is not off.

use std::time::Duration;

use fence_vmchannel_protocol::{PowerState, Reason};
use tokio::time::{Instant, sleep};

use crate::domain::{Domain, Sighting, Standing};
use crate::hypervisor::{CallError, Hypervisor};

/// What a look brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It runs or does not.
    State(PowerState),
    /// It cannot be said.
    Nothing(Reason),
    /// Its process is gone, but libvirt's last word was that it runs: ask again.
    Ask,
}

/// What can be said without waiting for anybody.
#[must_use]
pub fn glance(hypervisor: &dyn Hypervisor, domain: &Domain) -> Seen {
    if domain.is_alive() {
        return Seen::State(PowerState::On);
    }
    match hypervisor.instance_now(domain) {
        Sighting::Runs(_) => return Seen::State(PowerState::On),
        Sighting::Unsure => return Seen::Nothing(Reason::UnknownState),
        Sighting::Absent => {}
    }
    if !hypervisor.is_connected() {
        return Seen::Nothing(Reason::UnknownState);
    }
    judge(domain.standing, hypervisor.is_simulated())
}

/// What libvirt's word means for a domain without a process. A simulated one has no process to look for.
fn judge(standing: Standing, simulated: bool) -> Seen {
    match standing {
        Standing::ShutOff => Seen::State(PowerState::Off),
        Standing::Moved => Seen::Nothing(Reason::Moved),
        Standing::Active | Standing::Leaving | Standing::Crashed if simulated => Seen::State(PowerState::On),
        Standing::Active | Standing::Leaving | Standing::Crashed => Seen::Ask,
        Standing::Unclear => Seen::Nothing(Reason::UnknownState),
    }
}

/// What can be said, asking libvirt where a glance is not enough. Bounded by the hypervisor's own deadline.
pub async fn look(hypervisor: &dyn Hypervisor, domain: &Domain) -> Result<PowerState, Reason> {
    match glance(hypervisor, domain) {
        Seen::State(state) => return Ok(state),
        Seen::Nothing(reason) => return Err(reason),
        Seen::Ask => {}
    }
    let standing = settled(hypervisor, domain).await.map_err(|_| Reason::UnknownState)?;
    match hypervisor.instance_now(domain) {
        Sighting::Runs(_) => return Ok(PowerState::On),
        Sighting::Unsure => return Err(Reason::UnknownState),
        Sighting::Absent => {}
    }
    match judge(standing, hypervisor.is_simulated()) {
        Seen::State(state) => Ok(state),
        Seen::Nothing(reason) => Err(reason),
        Seen::Ask => Err(Reason::UnknownState),
    }
}

/// How long libvirt may take to notice that a process is gone; its own clean-up takes about 0.3 s.
const SETTLE: Duration = Duration::from_secs(3);
/// How soon it is asked again meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(25);

/// libvirt's fresh word on a domain without a process, once it has noticed that.
pub async fn settled(hypervisor: &dyn Hypervisor, domain: &Domain) -> Result<Standing, CallError> {
    let until = Instant::now() + SETTLE;
    loop {
        let standing = hypervisor.standing(domain.uuid).await?;
        let runs = matches!(standing, Standing::Active | Standing::Leaving);
        let noticed = !runs || hypervisor.instance_now(domain) != Sighting::Absent;
        if noticed || hypervisor.is_simulated() || Instant::now() > until {
            return Ok(standing);
        }
        sleep(ASK_AGAIN).await;
    }
}
