//! The only unsafe code about libvirt: what the `virt` crate does not bind, and what the C library is told.
//!
//! In:  a connection and a [`Listener`] for its events; a domain and its job. Out: calls of the listener, facts.
//!
//! Invariant: each registration owns one count of its listener's `Arc`, which libvirt gives back by [`forget`] when it
//! will not call again. Nothing here panics, since a callback must not unwind into C.
#![expect(
    unsafe_code,
    reason = "libvirt's events and jobs are not bound by the virt crate, nor what the C library is told"
)]

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt_sys as sys;

use crate::hypervisor::Change;

/// Who hears of events. Called on libvirt's event thread: must be quick and must not call libvirt.
pub(super) trait Listener: Send + Sync {
    fn domain_changed(&self, change: Change);
    fn closed(&self);
}

/// A listener as libvirt keeps it: C takes thin pointers only.
struct Ear(Arc<dyn Listener>);

/// What is registered on a connection. libvirt keeps the connection open until it is given up.
#[derive(Default)]
pub(super) struct Subscription {
    callbacks: Vec<c_int>,
    on_close: bool,
}

/// Registers for the domains' events and the connection's end.
pub(super) fn subscribe(connect: &Connect, listener: &Arc<dyn Listener>) -> Result<Subscription, Error> {
    let lifecycle = register(connect, sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle_callback(), listener)?;
    let optional = [
        (sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, metadata_callback()),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, device_callback()),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, device_callback()),
    ];
    let mut callbacks = vec![lifecycle];
    callbacks.extend(
        optional.into_iter().filter_map(|(id, callback)| register(connect, id, callback, listener).ok()),
    );
    Ok(Subscription { callbacks, on_close: register_close(connect, listener) })
}

/// Gives the registrations up and closes the connection. May wait for libvirtd. The last use of the connection.
pub(super) fn close(connect: &Connect, subscription: &Subscription) {
    let connect = connect.as_ptr();
    for callback in &subscription.callbacks {
        // SAFETY: the connection is open, and the number came from its own registration.
        unsafe { sys::virConnectDomainEventDeregisterAny(connect, *callback) };
    }
    if subscription.on_close {
        // SAFETY: as above; the function is the registered one.
        unsafe { sys::virConnectUnregisterCloseCallback(connect, Some(on_close)) };
    }
    // SAFETY: gives back the count that opening took; the caller does not use the connection again.
    unsafe { sys::virConnectClose(connect) };
}

fn register(
    connect: &Connect,
    event: sys::virDomainEventID,
    callback: sys::virConnectDomainEventGenericCallback,
    listener: &Arc<dyn Listener>,
) -> Result<c_int, Error> {
    let id = c_int::try_from(event).unwrap_or(c_int::MAX); // not an event: refused by libvirt
    let opaque = remember(listener);
    // SAFETY: the callback has the type of its event; `opaque` is an Ear that lives until `forget`.
    let number = unsafe {
        let any_domain = std::ptr::null_mut();
        sys::virConnectDomainEventRegisterAny(
            connect.as_ptr(),
            any_domain,
            id,
            callback,
            opaque,
            Some(forget),
        )
    };
    if number < 0 {
        let error = Error::last_error();
        // SAFETY: a refused registration does not call `forget`, so the Ear is still ours.
        unsafe { forget(opaque) };
        return Err(error);
    }
    Ok(number)
}

/// Whether the driver took it: in-process drivers have no connection that could close.
fn register_close(connect: &Connect, listener: &Arc<dyn Listener>) -> bool {
    let opaque = remember(listener);
    // SAFETY: `opaque` is an Ear that lives until `forget`.
    let taken = unsafe {
        sys::virConnectRegisterCloseCallback(connect.as_ptr(), Some(on_close), opaque, Some(forget))
    } == 0;
    if !taken {
        // SAFETY: a refused registration does not call `forget`, so the Ear is still ours.
        unsafe { forget(opaque) };
    }
    taken
}

fn remember(listener: &Arc<dyn Listener>) -> *mut c_void {
    Box::into_raw(Box::new(Ear(listener.clone()))).cast()
}

unsafe extern "C" fn forget(opaque: *mut c_void) {
    // SAFETY: made by `remember`, and nobody uses it after this call.
    drop(unsafe { Box::from_raw(opaque.cast::<Ear>()) });
}

/// SAFETY: `opaque` was made by `remember`; `domain` is libvirt's for the time of the callback.
unsafe fn tell(domain: sys::virDomainPtr, change: impl FnOnce(Uuid) -> Change, opaque: *mut c_void) {
    let mut uuid = [0; sys::VIR_UUID_BUFLEN as usize];
    // SAFETY: the buffer has the length that libvirt writes; see above for the pointers.
    let (known, ear) =
        unsafe { (sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) == 0, &*opaque.cast::<Ear>()) };
    if known {
        ear.0.domain_changed(change(Uuid::from_bytes(uuid)));
    }
}

unsafe extern "C" fn on_close(_: sys::virConnectPtr, _reason: c_int, opaque: *mut c_void) {
    // SAFETY: `opaque` was made by `remember` and is not yet forgotten.
    unsafe { &*opaque.cast::<Ear>() }.0.closed();
}

type Lifecycle =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
type Metadata =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, *const c_char, *mut c_void);
type Device = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *const c_char, *mut c_void);
type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);

unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let change = if leaves(event, detail) { Change::Leaves } else { Change::Domain };
    // SAFETY: libvirt's arguments, as registered.
    unsafe { tell(domain, change, opaque) };
    0
}

/// Whether a domain was paused for the last moments of its migration.
fn leaves(event: c_int, detail: c_int) -> bool {
    let details = [sys::VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED, sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY];
    let is = |number: c_int, one: u32| u32::try_from(number) == Ok(one);
    is(event, sys::VIR_DOMAIN_EVENT_SUSPENDED) && details.into_iter().any(|one| is(detail, one))
}

unsafe extern "C" fn on_metadata(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _kind: c_int,
    _namespace: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt's arguments, as registered.
    unsafe { tell(domain, Change::Domain, opaque) };
}

unsafe extern "C" fn on_device(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt's arguments, as registered.
    unsafe { tell(domain, Change::Domain, opaque) };
}

fn lifecycle_callback() -> sys::virConnectDomainEventGenericCallback {
    // SAFETY: libvirt calls it by its own type, virConnectDomainEventCallback, for this event.
    Some(unsafe { std::mem::transmute::<Lifecycle, Generic>(on_lifecycle) })
}

fn metadata_callback() -> sys::virConnectDomainEventGenericCallback {
    // SAFETY: libvirt calls it by its own type, virConnectDomainEventMetadataChangeCallback, for this event.
    Some(unsafe { std::mem::transmute::<Metadata, Generic>(on_metadata) })
}

fn device_callback() -> sys::virConnectDomainEventGenericCallback {
    // SAFETY: libvirt calls it by its own type, virConnectDomainEventDeviceAddedCallback or ...RemovedCallback.
    Some(unsafe { std::mem::transmute::<Device, Generic>(on_device) })
}

/// The kind of job that runs on the domain now (`virDomainJobOperation`), if one does.
pub(super) fn running_job(domain: &Domain) -> Result<Option<c_int>, Error> {
    let (mut kind, mut count, mut operation) = (0, 0, 0);
    let mut parameters: sys::virTypedParameterPtr = std::ptr::null_mut();
    // SAFETY: all are valid for writing; libvirt allocates `parameters`, and virTypedParamsFree releases them.
    let (result, found) = unsafe {
        let result = sys::virDomainGetJobStats(domain.as_ptr(), &mut kind, &mut parameters, &mut count, 0);
        let name = sys::VIR_DOMAIN_JOB_OPERATION.as_ptr();
        let found = result == 0 && sys::virTypedParamsGetInt(parameters, count, name, &mut operation) == 1;
        sys::virTypedParamsFree(parameters, count);
        (result, found)
    };
    if result < 0 {
        return Err(Error::last_error());
    }
    let runs = [sys::VIR_DOMAIN_JOB_BOUNDED, sys::VIR_DOMAIN_JOB_UNBOUNDED];
    Ok((found && runs.iter().any(|job| c_int::try_from(*job) == Ok(kind))).then_some(operation))
}

/// State and reason of all domains, in one call. Those of which libvirt does not tell are left out.
pub(super) fn states(connect: &Connect) -> Result<Vec<(Uuid, u32, c_int)>, Error> {
    let mut records: *mut sys::virDomainStatsRecordPtr = std::ptr::null_mut();
    // SAFETY: `records` is valid for writing.
    let count = unsafe {
        sys::virConnectGetAllDomainStats(connect.as_ptr(), sys::VIR_DOMAIN_STATS_STATE, &mut records, 0)
    };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error()) };
    if records.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: libvirt allocated so many records, each a valid pointer, until they are freed below.
    unsafe {
        let told = std::slice::from_raw_parts(records, count);
        let states = told.iter().filter_map(|record| state(&**record)).collect();
        sys::virDomainStatsRecordListFree(records);
        Ok(states)
    }
}

fn state(record: &sys::virDomainStatsRecord) -> Option<(Uuid, u32, c_int)> {
    let (mut uuid, mut state, mut reason) = ([0; sys::VIR_UUID_BUFLEN as usize], 0, 0);
    // SAFETY: the record and its domain are libvirt's until they are freed; the buffers have the lengths that it writes.
    let is_told = unsafe {
        let (parameters, count) = (record.params, record.nparams);
        let (of_state, of_reason) = (c"state.state".as_ptr(), c"state.reason".as_ptr());
        sys::virDomainGetUUID(record.dom, uuid.as_mut_ptr()) == 0
            && sys::virTypedParamsGetInt(parameters, count, of_state, &mut state) == 1
            && sys::virTypedParamsGetInt(parameters, count, of_reason, &mut reason) == 1
    };
    Some((Uuid::from_bytes(uuid), u32::try_from(state).ok()?, reason)).filter(|_| is_told)
}

/// Asks libvirt to abort the domain's job.
pub(super) fn abort_job(domain: &Domain) -> Result<(), Error> {
    // SAFETY: the domain holds a valid pointer.
    match unsafe { sys::virDomainAbortJob(domain.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Error::last_error()),
    }
}

/// All threads share one heap from now on. By itself the C library gives each thread that calls libvirt a heap of its own,
/// and what was freed in one is of no use to the others.
#[cfg(target_env = "gnu")]
pub(super) fn share_one_heap() {
    // SAFETY: mallopt(3) may be called at any time, and this setting only chooses where memory is taken from.
    unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1) };
}

/// Gives memory back that is free: a long list leaves some behind, here and there.
#[cfg(target_env = "gnu")]
pub(super) fn give_memory_back() {
    // SAFETY: malloc_trim(3) may be called at any time, by any thread.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Other C libraries have no such settings.
#[cfg(not(target_env = "gnu"))]
pub(super) fn share_one_heap() {}

/// Nor do they keep so much.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_memory_back() {}

/// Ends this process at once. The ordinary way takes the C libraries apart, while threads may still be in them: one that waits for
/// a libvirt that hangs is not waited for.
pub(super) fn end(code: u8) -> ! {
    // SAFETY: _exit(2) may be called at any time, and does not return.
    unsafe { nix::libc::_exit(code.into()) }
}
