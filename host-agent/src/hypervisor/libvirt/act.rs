//! Changes domains: stop, start, abort a job.
//!
//! In:  a connection and the UUID of a permit's target. Out: that libvirt did it, or why not.
//!
//! Invariant: blocking; runs on the pool's threads only. Nothing here is evidence that a domain is off.

use std::ffi::c_int;
use std::sync::Weak;

use tokio::time::Instant;
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain as Handle;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

use super::ffi;
use super::link::call_error;
use super::look::{is_starting, standing_by, standing_of};
use crate::domain::{Job, Standing};
use crate::hypervisor::{CallError, Recipe, WORD_IS_GOOD_FOR};

/// What came of one attempt to start a domain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// It was started.
    Now,
    /// libvirt holds it for running already.
    Already,
}

/// [`destroy`], unless it migrates by now: the end of a source is no evidence. The call may have waited for its turn, and nobody
/// may want it any more: what runs by then may be another run.
pub(super) fn stop(
    connect: &Connect,
    uuid: Uuid,
    (asked, wanted): (Instant, &Weak<()>),
) -> Result<(), CallError> {
    if asked.elapsed() > WORD_IS_GOOD_FOR {
        match job(connect, uuid)? {
            Job::Leaving | Job::Arriving => return Err(CallError::Failed("it migrates by now".to_owned())),
            Job::None | Job::Starting | Job::Ended => {}
        }
    }
    let handle = lookup(connect, uuid)?;
    if wanted.strong_count() == 0 {
        return Err(CallError::Failed("nobody waits for it any more".to_owned()));
    }
    destroy(&handle)
}

/// Stops the domain at once, without asking the guest.
fn destroy(handle: &Handle) -> Result<(), CallError> {
    match handle.destroy_flags(sys::VIR_DOMAIN_DESTROY_DEFAULT) {
        Ok(_) => Ok(()),
        Err(error) if error.code() == ErrorNumber::OperationInvalid && handle.is_active() == Ok(false) => {
            Err(CallError::NotRunning)
        }
        Err(error) => Err(call_error(error)),
    }
}

/// One attempt to start the domain, never from a saved state, and not here if it has moved to another host.
pub(super) fn start(connect: &Connect, uuid: Uuid, recipe: &Recipe) -> Result<Started, CallError> {
    let result = match recipe {
        Recipe::Defined => {
            let handle = lookup(connect, uuid)?;
            if matches!(standing_of(&handle)?, Standing::Moved | Standing::Leaving) {
                return Err(CallError::Failed(
                    "it was started meanwhile, and moved to another host".to_owned(),
                ));
            }
            boot(&handle)
        }
        Recipe::Transient(xml) => Handle::create_xml(connect, xml, sys::VIR_DOMAIN_NONE).map(drop),
    };
    match result {
        Ok(()) => Ok(Started::Now),
        Err(_) if lookup(connect, uuid).is_ok_and(|handle| handle.is_active() == Ok(true)) => {
            Ok(Started::Already)
        }
        Err(error) => Err(call_error(error)),
    }
}

/// The test driver does not know the flag for a fresh boot, and has no saved states either.
fn boot(handle: &Handle) -> Result<(), Error> {
    match handle.create_with_flags(sys::VIR_DOMAIN_START_FORCE_BOOT) {
        Err(error) if error.code() == ErrorNumber::InvalidArg && handle.has_managed_save(0) == Ok(false) => {
            handle.create().map(drop)
        }
        result => result.map(drop),
    }
}

/// How to start the domain again. A transient one leaves nothing behind but this.
pub(super) fn recipe(connect: &Connect, uuid: Uuid) -> Result<Recipe, CallError> {
    let handle = lookup(connect, uuid)?;
    if handle.is_persistent().map_err(call_error)? {
        return Ok(Recipe::Defined);
    }
    let flags = sys::VIR_DOMAIN_XML_SECURE | sys::VIR_DOMAIN_XML_INACTIVE;
    handle.get_xml_desc(flags).map(Recipe::Transient).map_err(call_error)
}

/// Jobs that end with a process that runs: a new one, where there was one before.
const STARTS: [u32; 3] = [
    sys::VIR_DOMAIN_JOB_OPERATION_START,
    sys::VIR_DOMAIN_JOB_OPERATION_RESTORE,
    sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT,
];

/// Whether the domain migrates, and which way. On the host it comes to it is paused for a migration that is no job of that
/// host's.
pub(super) fn job(connect: &Connect, uuid: Uuid) -> Result<Job, CallError> {
    let handle = lookup(connect, uuid)?;
    let is = |job: c_int, one: u32| u32::try_from(job) == Ok(one);
    let arriving = match ffi::running_job(&handle) {
        Ok(Some(job)) if is(job, sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT) => return Ok(Job::Leaving),
        Ok(Some(job)) if STARTS.iter().any(|one| is(job, *one)) => return Ok(Job::Starting),
        Ok(_) => false,
        // libvirt has no statistics of a domain that is just arriving, nor of one that does not run, which it tells apart.
        Err(error) if is_refusal(&error) => error.code() == ErrorNumber::OperationUnsupported,
        Err(error) => return Err(call_error(error)),
    };
    let (state, reason) = handle.get_state().map_err(call_error)?;
    Ok(match standing_by(state, reason) {
        Standing::Unclear if is_starting(state, reason) => {
            if arriving {
                Job::Arriving
            } else {
                Job::Starting
            }
        }
        Standing::Leaving => Job::Arriving,
        Standing::Active | Standing::Crashed if arriving => Job::Arriving,
        Standing::Active | Standing::Crashed => Job::None,
        Standing::ShutOff | Standing::Moved | Standing::Unclear => Job::Ended,
    })
}

/// Aborts the domain's migration, if one runs.
pub(super) fn abort_job(connect: &Connect, uuid: Uuid) -> Result<(), CallError> {
    match ffi::abort_job(&lookup(connect, uuid)?) {
        Err(error) if !is_refusal(&error) => Err(call_error(error)),
        _ => Ok(()), // there is none any more; whoever asked looks again
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(
        error.code(),
        ErrorNumber::OperationInvalid | ErrorNumber::OperationUnsupported | ErrorNumber::NoSupport
    )
}

fn lookup(connect: &Connect, uuid: Uuid) -> Result<Handle, CallError> {
    Handle::lookup_by_uuid(connect, uuid).map_err(call_error)
}
