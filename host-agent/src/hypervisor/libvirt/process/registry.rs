//! QEMU processes that somebody holds, each once, and whose they are.
//!
//! In:  a process whose arguments were read. Out: the same one for everybody who finds it again.
//!
//! Invariant: an entry is of the very process that its number and start name, and ends with the last who holds it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use uuid::Uuid;

use super::QemuProcess;
use crate::domain::{Instance, InstanceId};

#[derive(Default)]
struct Registry {
    held: HashMap<InstanceId, (Uuid, Weak<QemuProcess>)>,
    /// How many entries there may be before those that ended are looked for.
    sweep_at: usize,
}

fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process with this number and start, if somebody holds it.
pub(super) fn known(id: InstanceId) -> Option<(Uuid, Arc<QemuProcess>)> {
    let (domain, process) = registry().held.get(&id)?.clone();
    Some((domain, process.upgrade()?))
}

/// Holds a process; if somebody was faster, that one's.
pub(super) fn hold(id: InstanceId, domain: Uuid, process: Arc<QemuProcess>) -> Instance {
    let mut registry = registry();
    if registry.held.len() >= registry.sweep_at {
        registry.held.retain(|_, (_, process)| process.strong_count() > 0);
        registry.sweep_at = 2 * registry.held.len() + 16;
    }
    let held = registry.held.get(&id).and_then(|(_, process)| process.upgrade());
    let process = held.unwrap_or(process);
    registry.held.insert(id, (domain, Arc::downgrade(&process)));
    Instance { id, process }
}
