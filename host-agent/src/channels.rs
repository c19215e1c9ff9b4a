//! Which channels are tended: makes and ends the tasks as domains come and go.
//!
//! In:  inventory snapshots. Out: one task for each channel, and no socket that nobody tends.
//!
//! Invariant: what is tended is exactly what the last snapshot says.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use uuid::Uuid;

use crate::agent::Agent;
use crate::channel::socket;
use crate::channel::tend::{Door, tend};
use crate::daemon::Task;
use crate::domain::{ChannelSpec, Domain, Mode};
use crate::inventory::Inventory;

/// A socket without a domain may be that of a VM which is just being started by a hook.
const LEFTOVER: Duration = Duration::from_secs(60);

/// The channels that are tended.
#[derive(Debug, Default)]
pub struct Channels {
    /// The snapshot that was followed last.
    followed: Arc<Inventory>,
    tended: HashMap<Uuid, Vec<Tended>>,
}

#[derive(Debug)]
struct Tended {
    door: Arc<Door>,
    task: AbortHandle,
}

impl Channels {
    /// Makes what is tended equal to what the snapshot says. Only the channels of domains that changed hear of it.
    pub fn follow(&mut self, now: &Arc<Inventory>, agent: &Arc<Agent>, tasks: &mut JoinSet<Task>) {
        let before = std::mem::replace(&mut self.followed, now.clone());
        self.tended.retain(|uuid, tended| {
            let is_known = now.get(*uuid).is_some();
            tended.iter().filter(|_| !is_known).for_each(Tended::end);
            is_known
        });
        for domain in now.iter() {
            let old = before.get(domain.uuid);
            let is_same = old.is_some_and(|old| Arc::ptr_eq(old, domain) || old == domain);
            let mut of_domain = self.tended.get(&domain.uuid).into_iter().flatten();
            if !is_same || of_domain.any(|tended| tended.task.is_finished()) {
                self.adjust(domain, agent, tasks);
            }
        }
    }

    fn adjust(&mut self, domain: &Domain, agent: &Arc<Agent>, tasks: &mut JoinSet<Task>) {
        let is_alive = domain.is_alive();
        let wanted = || domain.channels.iter().filter(|spec| spec.mode == Mode::Connect || is_alive);
        let tended = self.tended.entry(domain.uuid).or_default();
        tended.retain(|one| {
            let keep = wanted().any(|spec| *spec == one.door.spec) && !one.task.is_finished();
            if keep {
                one.door.changed.notify_one()
            } else {
                one.end()
            }
            keep
        });
        for spec in wanted() {
            if !tended.iter().any(|one| one.door.spec == *spec) {
                tended.reserve_exact(1);
                tended.push(Tended::begin(domain.uuid, spec, agent, tasks));
            }
        }
        if tended.is_empty() {
            self.tended.remove(&domain.uuid);
        }
    }

    /// Removes sockets that belong to no domain of this host: left by an agent that was killed, or made by a hook for a
    /// domain that never came.
    pub fn sweep(now: &Inventory, guests_dir: &Path) {
        let Ok(entries) = std::fs::read_dir(guests_dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let uuid = name.trim_start_matches('.').get(..36).and_then(|text| Uuid::try_parse(text).ok());
            let changed = entry.metadata().and_then(|found| found.modified()).ok();
            let age = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
            let is_old = age.is_some_and(|age| age > LEFTOVER);
            if uuid.is_some_and(|uuid| now.get(uuid).is_none()) && is_old {
                tracing::info!(socket = %entry.path().display(), "removing a socket whose domain is gone");
                let _ = std::fs::remove_file(entry.path()); // looked at again at the next sweep
            }
        }
    }
}

impl Tended {
    fn begin(domain: Uuid, spec: &ChannelSpec, agent: &Arc<Agent>, tasks: &mut JoinSet<Task>) -> Self {
        let door = Arc::new(Door { domain, spec: spec.clone(), changed: Notify::new() });
        let (tended, agent) = (door.clone(), agent.clone());
        let task = tasks.spawn(async move {
            tend(tended, agent).await;
            Task::Channel
        });
        Self { door, task }
    }

    /// A channel that is no more leaves no file.
    fn end(&self) {
        self.task.abort();
        let spec = &self.door.spec;
        if spec.mode == Mode::Connect
            && let Err(error) = socket::remove(&spec.path)
        {
            tracing::warn!(path = %spec.path.display(), %error, "a socket could not be removed");
        }
    }
}
