//! Finds out how a target runs.
//!
//! In:  a permit and the domain as it was last seen. Out: what an order goes by, and the process that it is about.
//!
//! Invariant: what cannot be looked for is not absent; without libvirt's word only a process that is known is acted on.

use std::time::Duration;

use fence_vmchannel_protocol::Power;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::carry::Brought;
use crate::domain::{Domain, Instance, Job, Sighting, Standing};
use crate::hypervisor::{CallError, Hypervisor, Recipe};
use crate::inventory::settled;
use crate::order::{Event, Found, Proof};
use crate::policy::Permit;

/// How the target runs now; for a reboot also how to start it again.
pub(super) async fn find(
    hypervisor: &dyn Hypervisor,
    permit: &Permit,
    domain: &Domain,
    (recipe, asked): (&watch::Sender<Option<Recipe>>, &watch::Sender<Instant>),
) -> Brought {
    if domain.name != *permit.name() {
        // Whoever asked may have meant the one that is called so by now.
        let why = format!("it is called {} by now: ask again", domain.name);
        return (Event::Found(Found::Nothing(why)), None);
    }
    let known = domain.instance.clone().filter(|instance| !instance.process.is_gone());
    let sighting = match known {
        Some(instance) => Sighting::Runs(instance),
        None => hypervisor.instance_read(domain).await,
    };
    if sighting == Sighting::Unsure {
        return (not_looked_for(), None);
    }
    let Some(instance) = sighting.instance() else {
        let brought = look_without_process(hypervisor, permit, domain, asked).await;
        if brought.1.is_some() {
            take_recipe(hypervisor, permit, domain, recipe).await;
        }
        return brought;
    };
    take_recipe(hypervisor, permit, domain, recipe).await;
    let job = ask_for_job(hypervisor, permit, LOOK_WITHIN, asked).await;
    // Somebody restarted it meanwhile: it is the new run that is to be stopped, and asked about.
    if matches!(job, Found::Running | Found::Unattended | Found::Ending) && instance.process.is_gone() {
        let domain = Domain { instance: Some(instance.clone()), ..domain.clone() };
        match hypervisor.instance_read(&domain).await {
            Sighting::Runs(_) => {
                return Box::pin(find(hypervisor, permit, &domain, (recipe, asked))).await;
            }
            Sighting::Unsure => return (not_looked_for(), None),
            Sighting::Absent => {}
        }
    }
    let found = match job {
        // It may run elsewhere before libvirt here can say so: only libvirt's word would do.
        Found::Unattended if matches!(domain.standing, Standing::Leaving | Standing::Moved) => {
            Found::Nothing("it was migrating when it was last seen, and libvirt does not answer".into())
        }
        // It ended by itself since libvirt was asked, and a migration ends a source, too.
        Found::Running | Found::Unattended if instance.process.is_gone() => Found::Ending,
        Found::Unattended if domain.standing == Standing::Unclear && permit.power() != Power::On => {
            Found::Nothing("libvirt has not said how it is, and does not answer".into())
        }
        found @ (Found::Running
        | Found::Leaving
        | Found::Arriving
        | Found::Ending
        | Found::Unattended
        | Found::NotRunning(..)
        | Found::Forgotten
        | Found::Unseen
        | Found::Nothing(_)) => found,
    };
    (Event::Found(found), Some(instance))
}

fn not_looked_for() -> Event {
    Event::Found(Found::Unseen)
}

/// How long libvirt may take to tell how to start a domain again.
const RECIPE_PATIENCE: Duration = Duration::from_secs(1);

/// A transient domain's definition goes with it, so it is taken before.
async fn take_recipe(
    hypervisor: &dyn Hypervisor,
    permit: &Permit,
    domain: &Domain,
    recipe: &watch::Sender<Option<Recipe>>,
) {
    if permit.power() != Power::Reboot {
        return;
    }
    if domain.persistent {
        recipe.send_replace(Some(Recipe::Defined));
    } else if let Ok(Ok(how)) = timeout(RECIPE_PATIENCE, hypervisor.recipe(permit)).await {
        recipe.send_replace(Some(how)); // what was learned before is better than nothing
    }
}

/// How long libvirt may take to answer what a domain does.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// The same of one that it was to stop and has not: it answers at once, or it is held up by that very stop.
pub(super) const SECOND_LOOK_WITHIN: Duration = Duration::from_millis(300);

/// How a domain with a process runs, by libvirt's word. A libvirt that is there but does not take the question now is asked
/// again: a target is killed without its word only if there is none to be had.
pub(super) async fn ask_for_job(
    hypervisor: &dyn Hypervisor,
    permit: &Permit,
    within: Duration,
    asked: &watch::Sender<Instant>,
) -> Found {
    let until = Instant::now() + JOB_PATIENCE;
    loop {
        asked.send_replace(Instant::now());
        match hypervisor.job(permit, within).await {
            Ok(Job::None) => return Found::Running,
            Ok(Job::Leaving) => return Found::Leaving,
            Ok(Job::Arriving) => return Found::Arriving,
            Ok(Job::Starting) if permit.power() == Power::On => return Found::Running,
            Ok(Job::Starting) if Instant::now() < until => sleep(RETRY_JOB).await,
            Ok(Job::Starting | Job::Ended) | Err(CallError::NoDomain) => return Found::Ending,
            Err(CallError::Unreachable(_) | CallError::Deadline(_)) => return Found::Unattended,
            Err(CallError::Busy | CallError::Failed(_) | CallError::NotRunning)
                if !hypervisor.is_connected() =>
            {
                return Found::Unattended;
            }
            // Calls that are under way end meanwhile: what is left hangs.
            Err(CallError::Busy) if Instant::now() > until => return Found::Unattended,
            Err(CallError::Failed(why)) if Instant::now() > until => return Found::Nothing(why),
            Err(CallError::Busy | CallError::Failed(_) | CallError::NotRunning) => sleep(RETRY_JOB).await,
        }
    }
}

/// How long, and how often, a libvirt that is there is asked what its domain does.
const JOB_PATIENCE: Duration = Duration::from_secs(3);
const RETRY_JOB: Duration = Duration::from_millis(50);

/// libvirt's fresh word, and whether any process of the domain is there that its files do not tell of.
async fn look_without_process(
    hypervisor: &dyn Hypervisor,
    permit: &Permit,
    domain: &Domain,
    asked: &watch::Sender<Instant>,
) -> Brought {
    let standing = match settled(hypervisor, domain, || ()).await {
        Ok(standing) => Ok(standing),
        Err(CallError::NoDomain) => Err(()),
        Err(error) => return (Event::Found(Found::Nothing(error.to_string())), None),
    };
    let stray = hypervisor.process_of(domain.uuid, Duration::ZERO).await;
    let standing = match standing {
        Ok(standing) => standing,
        Err(()) if stray == Sighting::Absent => return (Event::Found(Found::Forgotten), None),
        Err(()) => return (Event::Found(Found::Nothing(CallError::NoDomain.to_string())), None),
    };
    let proof = Proof::never_ran_here(standing, &stray);
    match stray.instance().filter(|_| may_be_ours(standing)) {
        Some(instance) if standing == Standing::Active => {
            (Event::Found(ask_for_job(hypervisor, permit, LOOK_WITHIN, asked).await), Some(instance))
        }
        Some(instance) => (Event::Found(Found::Unattended), Some(instance)),
        None => (Event::Found(Found::NotRunning(standing, proof)), None),
    }
}

/// How long a target is looked at until it is clear how it is.
pub(super) const UNCLEAR_PATIENCE: Duration = Duration::from_secs(3);

/// Whether another look may be clearer: libvirt is perhaps just starting it, or a process that is just becoming a QEMU, this one or
/// another, could not be read. What an agent of before had proven off and was to start may be at its start as long as it is neither off
/// nor on.
pub(super) fn is_unsettled(is_proven: bool, (event, _): &Brought) -> bool {
    let Event::Found(found) = event else { return false };
    match found {
        Found::NotRunning(Standing::Unclear, _) | Found::Unseen => true,
        Found::NotRunning(Standing::ShutOff, proof) => proof.is_none(),
        Found::NotRunning(Standing::Active | Standing::Leaving | Standing::Crashed, _)
        | Found::Ending
        | Found::Nothing(_) => is_proven,
        Found::NotRunning(Standing::Moved, _)
        | Found::Running
        | Found::Leaving
        | Found::Arriving
        | Found::Unattended
        | Found::Forgotten => false,
    }
}

/// Whether the end of a process that libvirt's files do not tell of would mean that the domain is off. One that moved, or is
/// moving, runs on another host, whatever is left of it here.
fn may_be_ours(standing: Standing) -> bool {
    match standing {
        Standing::Active | Standing::Crashed | Standing::ShutOff => true,
        Standing::Leaving | Standing::Moved | Standing::Unclear => false,
    }
}

/// Whether the domain has another process than the one that is gone: a new one, or one that was there all along and that
/// libvirt lost sight of. All processes were looked at, or are now, after `since`. Where they could not be, a process that is
/// known was the only one; one that only such a look had found may not have been.
pub(super) async fn runs_again(
    hypervisor: &dyn Hypervisor,
    domain: &Domain,
    gone: &Instance,
    since: Instant,
) -> bool {
    let ended = Domain { instance: Some(gone.clone()), ..domain.clone() };
    if hypervisor.instance_read(&ended).await != Sighting::Absent {
        return true;
    }
    match hypervisor.process_of(domain.uuid, since.elapsed()).await {
        Sighting::Runs(_) => true,
        Sighting::Absent => false,
        Sighting::Unsure => domain.instance.as_ref() != Some(gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_here_of_a_domain_that_moved_is_no_evidence() {
        for standing in [Standing::Moved, Standing::Leaving, Standing::Unclear] {
            assert!(!may_be_ours(standing), "{standing:?}");
        }
    }
}
