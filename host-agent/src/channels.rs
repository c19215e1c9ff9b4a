//! Which channels are tended: makes and ends the tasks as domains come and go.
//!
//! In:  inventory snapshots. Out: one task for each channel, and no socket that nobody tends.
//!
//! Invariant: what is tended is exactly what the last snapshot says.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::{AbortHandle, JoinSet};
use uuid::Uuid;

use crate::agent::Agent;
use crate::channel::socket;
use crate::channel::tend::tend;
use crate::daemon::Task;
use crate::domain::{ChannelSpec, Mode};
use crate::inventory::Inventory;

/// A socket without a domain may be that of a VM which is just being started by a hook.
const LEFTOVER: Duration = Duration::from_secs(60);

/// The channels that are tended.
#[derive(Debug, Default)]
pub struct Channels {
    tended: HashMap<(Uuid, ChannelSpec), AbortHandle>,
}

impl Channels {
    /// Makes what is tended equal to what the snapshot says.
    pub fn follow(&mut self, now: &Inventory, agent: &Arc<Agent>, tasks: &mut JoinSet<Task>) {
        let wanted: HashSet<(Uuid, &ChannelSpec)> = now
            .iter()
            .flat_map(|domain| domain.channels.iter().map(|spec| (domain.uuid, spec)))
            .filter(|(uuid, spec)| spec.mode == Mode::Connect || now.get(*uuid).is_some_and(|d| d.is_alive()))
            .collect();
        self.tended.retain(|(uuid, spec), task| {
            let keep = wanted.contains(&(*uuid, spec)) && !task.is_finished();
            if !keep {
                task.abort();
                forget(spec);
            }
            keep
        });
        for (uuid, spec) in wanted {
            let key = (uuid, spec.clone());
            self.tended.entry(key).or_insert_with_key(|(uuid, spec)| {
                let (uuid, spec, agent) = (*uuid, spec.clone(), agent.clone());
                tasks.spawn(async move {
                    tend(uuid, spec, agent).await;
                    Task::Channel
                })
            });
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

/// A channel that is no more leaves no file.
fn forget(spec: &ChannelSpec) {
    if spec.mode == Mode::Connect
        && let Err(error) = socket::remove(&spec.path)
    {
        tracing::warn!(path = %spec.path.display(), %error, "a socket could not be removed");
    }
}
