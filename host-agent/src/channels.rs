//! Which channels are tended: makes and ends what tends them as domains come and go.
//!
//! In:  inventory snapshots, knocks at idle sockets, sockets that became idle. Out: for each channel one of three: its socket is
//! just being made, it waits in the lobby, or a task tends it; and no socket left over.
//!
//! Invariant: what is tended is exactly what the last snapshot says. Only what is plainly idle waits in the lobby: whatever is
//! more than that, such as a VM that has just started or a socket that cannot be made, has a task.

mod files;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Weak};

use tokio::task::{AbortHandle, JoinSet, yield_now};
use uuid::Uuid;

use crate::agent::Agent;
use crate::channel::board::Served;
use crate::channel::door::Door;
use crate::channel::lobby::{Lobby, Seat};
use crate::channel::tend::tend;
use crate::daemon::Task;
use crate::domain::{Domain, Mode};
use crate::inventory::Inventory;
use files::Files;

/// So many sockets are made by one task.
const PART: usize = 64;

/// The channels that are tended.
#[derive(Debug)]
pub struct Channels {
    /// The snapshot that was followed last.
    followed: Arc<Inventory>,
    tended: HashMap<Uuid, Vec<Tended>>,
    lobby: Lobby,
}

#[derive(Debug)]
struct Tended {
    door: Arc<Door>,
    by: Tender,
}

/// What has a channel's socket.
#[derive(Debug)]
enum Tender {
    /// A task that makes sockets.
    Maker(AbortHandle),
    /// The lobby, until somebody knocks.
    Lobby(Seat),
    /// A task of its own.
    Task(AbortHandle),
}

/// A channel where nobody is.
#[derive(Debug)]
pub struct Idle {
    door: Arc<Door>,
    /// Its socket, if it could be made.
    socket: Option<OwnedFd>,
}

impl Channels {
    /// None yet; needs a runtime.
    pub fn open() -> io::Result<Self> {
        let (followed, tended) = Default::default();
        Ok(Self { followed, tended, lobby: Lobby::open()? })
    }

    /// Makes what is tended equal to what the snapshot says. Only the channels of domains that changed hear of it.
    pub fn follow(&mut self, now: &Arc<Inventory>, agent: &Arc<Agent>, tasks: &mut JoinSet<Task>) {
        let before = std::mem::replace(&mut self.followed, now.clone());
        let lobby = &mut self.lobby;
        self.tended.retain(|uuid, tended| {
            let is_known = now.at_the_door(*uuid).is_some();
            tended.iter().filter(|_| !is_known).for_each(|one| one.end(lobby));
            is_known
        });
        let mut without = Vec::new();
        for domain in now.with_announced() {
            let old = before.at_the_door(domain.uuid);
            let is_same = old.is_some_and(|old| Arc::ptr_eq(old, domain) || old == domain);
            let mut of_domain = self.tended.get(&domain.uuid).into_iter().flatten();
            if !is_same || of_domain.any(Tended::is_lost) {
                self.adjust(domain, agent, tasks, &mut without);
            }
        }
        self.make(&without, tasks);
    }

    /// Makes the channels of one domain what it says; those `without` a socket get one.
    fn adjust(
        &mut self,
        domain: &Domain,
        agent: &Arc<Agent>,
        tasks: &mut JoinSet<Task>,
        without: &mut Vec<Arc<Door>>,
    ) {
        let is_alive = domain.is_alive();
        let wanted = || domain.channels.iter().filter(|spec| spec.mode == Mode::Connect || is_alive);
        let mut tended = self.tended.remove(&domain.uuid).unwrap_or_default();
        tended.retain_mut(|one| {
            if !wanted().any(|spec| *spec == one.door.spec) {
                one.end(&mut self.lobby);
                return false;
            }
            one.door.changed.notify_one();
            if is_alive {
                one.rise(&mut self.lobby, agent, tasks);
            }
            !one.is_lost() // its file stays until a new socket takes the place
        });
        for spec in wanted() {
            if tended.iter().any(|one| one.door.spec == *spec) {
                continue;
            }
            let door = Arc::new(Door::of(domain.uuid, spec.clone()));
            if is_alive {
                tended.reserve_exact(1);
                tended.push(Tended::begin(door, None, agent, tasks));
            } else {
                without.push(door);
            }
        }
        if !tended.is_empty() {
            self.tended.insert(domain.uuid, tended);
        }
    }

    /// Has sockets made, a few at a time: thousands would hold up the guests.
    fn make(&mut self, doors: &[Arc<Door>], tasks: &mut JoinSet<Task>) {
        for part in doors.chunks(PART) {
            let doors: Vec<_> = part.iter().map(Arc::downgrade).collect();
            let maker = tasks.spawn(async move { Task::Channels(sockets_of(doors).await) });
            for door in part {
                let of_domain = self.tended.entry(door.domain).or_default();
                of_domain.reserve_exact(1);
                of_domain.push(Tended { door: door.clone(), by: Tender::Maker(maker.clone()) });
            }
        }
    }

    /// Waits until somebody knocks at sockets in the lobby. Cancel safe.
    pub async fn knocked(&self) -> Vec<Seat> {
        self.lobby.knocked().await
    }

    /// A task for each channel where somebody knocked.
    pub fn tend(&mut self, seats: &[Seat], agent: &Arc<Agent>, tasks: &mut JoinSet<Task>) {
        for seat in seats {
            let Some((door, socket)) = self.lobby.leave(*seat) else { continue };
            if let Some(one) = Self::at(&mut self.tended, &door) {
                *one = Tended::begin(door, Some(socket), agent, tasks);
            }
        }
    }

    /// Channels where nobody is wait in the lobby from now on, if they are still wanted.
    pub fn rest(&mut self, idle: Vec<Idle>, agent: &Arc<Agent>, tasks: &mut JoinSet<Task>) {
        for Idle { door, socket } in idle {
            let Some(one) = Self::at(&mut self.tended, &door) else { continue };
            let is_alive = || self.followed.get(door.domain).is_some_and(|domain| domain.is_alive());
            let has_begun = matches!(one.by, Tender::Maker(_)) && is_alive();
            let seated = match socket {
                Some(socket) if !has_begun => self.lobby.enter(door.clone(), socket).map_err(Some),
                other => Err(other),
            };
            *one = match seated {
                Ok(seat) => Tended { door, by: Tender::Lobby(seat) },
                Err(socket) => Tended::begin(door, socket, agent, tasks),
            };
        }
    }

    fn at<'a>(tended: &'a mut HashMap<Uuid, Vec<Tended>>, door: &Arc<Door>) -> Option<&'a mut Tended> {
        tended.get_mut(&door.domain)?.iter_mut().find(|one| Arc::ptr_eq(&one.door, door))
    }

    /// Removes sockets that belong to no domain of this host, and makes those anew whose files somebody else removed or replaced:
    /// nobody can knock there. A guest that is served goes on; its next run gets a new one in any case.
    pub fn sweep(&mut self, guests_dir: &Path, agent: &Arc<Agent>, tasks: &mut JoinSet<Task>) {
        let followed = self.followed.clone();
        if !followed.is_complete() {
            return; // whose the others are is not known yet
        }
        let Ok(files) = Files::swept(guests_dir, |uuid| followed.at_the_door(uuid).is_some()) else { return };
        for one in self.tended.values_mut().flatten().filter(|one| one.has_lost_its_file(&files, agent)) {
            match &one.by {
                Tender::Lobby(seat) => drop(self.lobby.leave(*seat)),
                Tender::Task(task) => task.abort(),
                Tender::Maker(_) => continue, // it is just being made
            }
            tracing::warn!(path = %one.door.spec.path.display(), "the socket's file is gone: making it anew");
            *one = Tended::begin(one.door.clone(), None, agent, tasks);
        }
    }
}

/// Makes the sockets of those channels that are still wanted. Nobody runs there yet, so they are ours alone: libvirt gives them
/// to the domain's user when it starts.
async fn sockets_of(doors: Vec<Weak<Door>>) -> Vec<Idle> {
    let mut idle = Vec::with_capacity(doors.len());
    for door in doors {
        if let Some(door) = door.upgrade() {
            let socket = door.make_socket(None).ok(); // its own task tries again, and tells why
            idle.push(Idle { door, socket });
            yield_now().await;
        }
    }
    idle
}

impl Tended {
    fn begin(
        door: Arc<Door>,
        socket: Option<OwnedFd>,
        agent: &Arc<Agent>,
        tasks: &mut JoinSet<Task>,
    ) -> Self {
        let (tended, agent) = (door.clone(), agent.clone());
        let task = tasks.spawn(async move {
            let socket = tend(tended.clone(), socket, agent).await;
            Task::Channels(vec![Idle { door: tended, socket: Some(socket) }])
        });
        Self { door, by: Tender::Task(task) }
    }

    /// A channel that waits in the lobby gets a task: its VM has started, or is otherwise than before.
    fn rise(&mut self, lobby: &mut Lobby, agent: &Arc<Agent>, tasks: &mut JoinSet<Task>) {
        if let Tender::Lobby(seat) = self.by {
            let socket = lobby.leave(seat).map(|(_, socket)| socket);
            *self = Self::begin(self.door.clone(), socket, agent, tasks);
        }
    }

    /// Whether its task ended, and it is not known yet how.
    fn is_lost(&self) -> bool {
        match &self.by {
            Tender::Maker(task) | Tender::Task(task) => task.is_finished(),
            Tender::Lobby(_) => false,
        }
    }

    /// Whether the file of its socket is another's by now, or none, and nobody uses a connection of before.
    fn has_lost_its_file(&self, files: &Files, agent: &Agent) -> bool {
        let Door { domain, spec, .. } = &*self.door;
        let is_gone = self.door.inode().is_some_and(|inode| !files.have(inode));
        is_gone && !self.is_lost() && agent.board.of(*domain, spec) != Served::Served
    }

    /// A channel that is no more leaves no file.
    fn end(&self, lobby: &mut Lobby) {
        match &self.by {
            Tender::Maker(_) => {} // leaves out whose channel is no more
            Tender::Lobby(seat) => drop(lobby.leave(*seat)),
            Tender::Task(task) => task.abort(),
        }
        if let Err(error) = self.door.remove_socket() {
            tracing::warn!(path = %self.door.spec.path.display(), %error, "a socket could not be removed");
        }
    }
}

#[cfg(test)]
#[path = "channels_tests.rs"]
mod tests;
