//! Machines and their processes: how they start, die, and when libvirt notices.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use fence_vmchannel_host_agent::domain::{Instance, InstanceId, Process, Standing};
use tokio::sync::Notify;
use uuid::Uuid;

use super::effects::Effect;
use super::moving::Moving;
use super::{Daemon, State, World};
use crate::seen::Seen;

/// What ends a source whose migration has succeeded.
pub(crate) const MIGRATED: &str = "it migrated";

/// libvirt's opinion of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opinion {
    pub(crate) active: bool,
    pub(crate) standing: Standing,
}

/// A virtual machine, wherever it runs.
pub(crate) struct Machine {
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    pub(crate) cluster: usize,
    pub(crate) persistent: bool,
    /// Whether its definition is on this host.
    pub(crate) is_defined: bool,
    /// `None` where libvirt here does not know it.
    pub(crate) libvirt: Option<Opinion>,
    /// The run that libvirt's pid file names.
    pub(crate) pid_file: Option<usize>,
    pub(crate) moving: Option<Moving>,
    /// It moved away: libvirt will say so once it notices the end of the source,
    pub(crate) has_left: bool,
    /// unless somebody ended that: then it says shut off.
    pub(crate) was_ended: bool,
    /// When an agent heard that it leaves, this time.
    pub(crate) heard_leaving: Option<u64>,
    /// The starts to which libvirt has not come yet: which agent asked for them, and when.
    pub(crate) starts_late: Vec<(u64, u64)>,
    /// How many starts libvirt prepares.
    pub(crate) prepared: usize,
    /// The last moment in which nobody ran it, or some process here did.
    pub(crate) last_free: u64,
    pub(crate) last_here: u64,
}

impl Machine {
    /// What libvirt says of it.
    pub(crate) fn said(&self) -> Option<Opinion> {
        let unclear = |known: Opinion| Opinion { standing: Standing::Unclear, ..known };
        self.libvirt.map(|known| if self.prepared > 0 && !known.active { unclear(known) } else { known })
    }
}

/// A process.
pub(crate) struct Run {
    pub(crate) machine: usize,
    pub(crate) pid: i32,
    pub(crate) here: bool,
    pub(crate) alive: bool,
    /// Whether it runs the machine, or can go on with it.
    pub(crate) holds: bool,
    pub(crate) ignores_term: bool,
    pub(crate) frozen: bool,
    pub(crate) doomed: bool,
    /// Whether it is the second one of a migration that has not gone on yet: its guest does not run.
    pub(crate) waits: bool,
    pub(crate) gone: Arc<Gone>,
}

#[derive(Default)]
pub(crate) struct Gone {
    flag: AtomicBool,
    told: Notify,
}

/// A process as one agent holds it.
pub(crate) struct Qemu {
    pub(crate) world: Arc<World>,
    pub(crate) run: usize,
    pub(crate) pid: i32,
    pub(crate) agent: u64,
    pub(crate) gone: Arc<Gone>,
}

impl fmt::Debug for Qemu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)
    }
}

#[async_trait]
impl Process for Qemu {
    fn is_gone(&self) -> bool {
        self.gone.flag.load(Ordering::Relaxed)
    }

    async fn gone(&self) {
        loop {
            let told = self.gone.told.notified();
            if self.is_gone() {
                return;
            }
            told.await;
        }
    }

    fn kill(&self) -> io::Result<()> {
        let mut state = self.world.lock();
        if self.is_gone() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.strikes(Seen::KillRefused) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !state.agent_kills(self.agent, self.run) {
            return Ok(());
        }
        let after = state.rng.between(0, 2);
        state.later(after, Effect::Kill(self.run, "agent"));
        Ok(())
    }

    fn is_peer(&self, pid: i32) -> bool {
        pid == self.pid && !self.is_gone()
    }

    fn describe(&self) -> String {
        format!("QEMU pid {}", self.pid)
    }
}

impl World {
    pub(crate) fn instance(self: &Arc<Self>, state: &State, run: usize, agent: u64) -> Instance {
        let of = &state.runs[run];
        let process = Qemu { world: self.clone(), run, pid: of.pid, agent, gone: of.gone.clone() };
        Instance { id: InstanceId { pid: of.pid, started: 1 }, process: Arc::new(process) }
    }
}

impl State {
    /// A process begins.
    pub(crate) fn begin_run(&mut self, machine: usize, here: bool, holds: bool) -> usize {
        let run = self.runs.len();
        let pid = 1000 + i32::try_from(run).unwrap();
        let ignores_term = self.strikes(Seen::IgnoresTerm);
        self.machines[machine].last_free = match self.is_free(machine) {
            true => self.now,
            false => self.machines[machine].last_free,
        };
        self.runs.push(Run {
            machine,
            pid,
            here,
            alive: true,
            holds,
            ignores_term,
            frozen: false,
            doomed: false,
            waits: !holds,
            gone: Arc::default(),
        });
        let host = if here { "here" } else { "on the other host" };
        self.tell("world", |s| format!("{} begins {host} as pid {pid}", s.name(machine)));
        if self.strikes(Seen::Immortal) {
            self.freeze(run, None);
        }
        run
    }

    /// Whether no process runs this machine anywhere, or can go on with it.
    pub(crate) fn is_free(&self, machine: usize) -> bool {
        !self.runs.iter().any(|run| run.machine == machine && run.alive && run.holds)
    }

    /// The last moment in which nobody ran it.
    pub(crate) fn free_until(&self, machine: usize) -> u64 {
        if self.is_free(machine) { self.now } else { self.machines[machine].last_free }
    }

    pub(crate) fn is_here(&self, machine: usize) -> bool {
        self.runs.iter().any(|run| run.machine == machine && run.alive && run.here)
    }

    /// The last moment in which a process of it was here.
    pub(crate) fn here_until(&self, machine: usize) -> u64 {
        if self.is_here(machine) { self.now } else { self.machines[machine].last_here }
    }

    pub(crate) fn freeze(&mut self, run: usize, millis: Option<u64>) {
        let pid = self.runs[run].pid;
        self.runs[run].frozen = true;
        self.tell("world", |_| format!("pid {pid} is in D state for {millis:?} ms"));
        if let Some(millis) = millis {
            self.later(millis, Effect::Thaw(run));
        }
    }

    pub(crate) fn thaw(&mut self, run: usize) {
        self.runs[run].frozen = false;
        if self.runs[run].doomed {
            self.die(run, "what it was sent before");
        }
    }

    pub(crate) fn term(&mut self, run: usize) {
        if self.runs[run].ignores_term {
            return;
        }
        self.kill(run, "SIGTERM");
    }

    pub(crate) fn kill(&mut self, run: usize, by: &'static str) {
        if self.runs[run].frozen {
            self.runs[run].doomed = true;
            return;
        }
        self.die(run, by);
    }

    /// A process ends.
    pub(crate) fn die(&mut self, run: usize, of: &str) {
        if !self.runs[run].alive {
            return;
        }
        let machine = self.runs[run].machine;
        self.machines[machine].last_here = self.here_until(machine);
        self.runs[run].alive = false;
        let pid = self.runs[run].pid;
        self.tell("world", |s| format!("pid {pid} of {} ends: {of}", s.name(machine)));
        self.runs[run].gone.flag.store(true, Ordering::Relaxed);
        self.runs[run].gone.told.notify_waiters();
        for line in self.wires.iter().filter(|line| line.run == run) {
            line.wire.lock().unwrap().close();
        }
        self.end_of_a_mover(machine, run);
        self.machines[machine].was_ended = of != MIGRATED;
        let after = self.rng.between(0, 300);
        self.later(after, Effect::Notice(machine));
    }

    /// libvirt sees that the process which it holds for a machine's is gone.
    pub(crate) fn notice(&mut self, machine: usize) {
        let of = &self.machines[machine];
        let is_over = of.pid_file.is_none_or(|run| !self.runs[run].alive);
        if self.daemon != Daemon::Up || !is_over || !of.libvirt.is_some_and(|known| known.active) {
            return;
        }
        // What moved is known to libvirt until its restart, and to agents that could see or hear of it: docs/decisions/0005 and 0026.
        // Coming back without arriving is as good as a restart.
        let (was_away, keeps) = (self.is_elsewhere(machine), of.is_defined);
        let may_not_know = self.has_agents_that_end() || self.last_word() > 100;
        let is_seen = was_away && may_not_know && !self.is_remembered(machine);
        let has_left = of.has_left && !of.was_ended || is_seen;
        let standing = if has_left { Standing::Moved } else { Standing::ShutOff };
        let of = &mut self.machines[machine];
        of.is_defined = keeps;
        of.pid_file = None;
        of.has_left = false;
        of.libvirt = keeps.then_some(Opinion { active: false, standing });
        self.tell("libvirtd", |s| match keeps {
            true => format!("says that {} is {standing:?}", s.name(machine)),
            false => format!("knows {} no more", s.name(machine)),
        });
        self.announce(machine);
    }

    /// Whether it runs on the other host.
    fn is_elsewhere(&self, machine: usize) -> bool {
        self.runs.iter().any(|run| run.machine == machine && run.alive && run.holds && !run.here)
    }

    /// Whether an agent heard that it leaves, and could write that down.
    pub(crate) fn is_remembered(&self, machine: usize) -> bool {
        let may_be_lost = [Seen::JournalFull, Seen::AgentDiesWriting, Seen::AgentHeldUp];
        self.machines[machine].heard_leaving.is_some()
            && !may_be_lost.into_iter().any(|fault| self.has(fault))
    }

    pub(crate) fn has_agents_that_end(&self) -> bool {
        [Seen::AgentDies, Seen::AgentStops, Seen::AgentDiesActing, Seen::AgentDiesWriting]
            .into_iter()
            .any(|fault| self.has(fault))
    }

    /// libvirt starts a machine.
    pub(crate) fn start(&mut self, machine: usize, by: &str) {
        if self.daemon != Daemon::Up || self.machines[machine].libvirt.is_some_and(|known| known.active) {
            return;
        }
        // Image locking lets no second one begin: docs/simulation.md tells why that matters.
        let (is_here, is_elsewhere) = (self.is_here(machine), self.is_elsewhere(machine));
        if is_elsewhere && !is_here && by == "the agent" && self.last_word() <= 100 {
            return self.wrong(|s| {
                format!("{} runs on another host, and the agent starts it here", s.name(machine))
            });
        }
        if is_here || is_elsewhere {
            return self
                .tell("libvirtd", |s| format!("cannot start {}: its disk is locked", s.name(machine)));
        }
        self.tell("libvirtd", |s| format!("starts {} for {by}", s.name(machine)));
        let run = self.begin_run(machine, true, true);
        let of = &mut self.machines[machine];
        of.pid_file = Some(run);
        of.libvirt = Some(Opinion { active: true, standing: Standing::Active });
        self.announce(machine);
    }
}
