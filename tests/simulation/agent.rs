//! The real agent over the simulated host: its census, its orders with their journal, and a session for each guest. Only
//! what has to do with sockets and signals is the simulation's.
//!
//! Invariant: an agent that was killed leaves nothing behind but its journal.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_host_agent::agent::Agent;
use fence_vmchannel_host_agent::audit::Quota;
use fence_vmchannel_host_agent::channel::Channel;
use fence_vmchannel_host_agent::channel::board::Board;
use fence_vmchannel_host_agent::host_status::Facts;
use fence_vmchannel_host_agent::hypervisor::{Change, Hypervisor};
use fence_vmchannel_host_agent::identity::Guest;
use fence_vmchannel_host_agent::inventory::{Census, Hint, Inventory};
use fence_vmchannel_host_agent::journal::{Journal, Store};
use fence_vmchannel_host_agent::orders::{Orders, Patience, Work};
use fence_vmchannel_host_agent::policy::Policy;
use fence_vmchannel_host_agent::session;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::guests::Line;
use crate::port::Port;
use crate::seen::Seen;
use crate::tasks::Spawner;
use crate::world::hand::Hand;
use crate::world::{State, World};

/// The journal's bytes, which outlive the agent.
struct Tape {
    world: Arc<World>,
    agent: u64,
}

impl Tape {
    fn write(&self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.world.lock();
        if !state.may_act(self.agent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if state.strikes(Seen::JournalFull) {
            state.oracle.forgot = true;
            state.tell("agent", |_| "cannot write its journal".into());
            return Err(io::ErrorKind::StorageFull.into());
        }
        let dies = state.strikes(Seen::AgentDiesWriting);
        if dies && state.rng.chance(500) {
            state.kill_agent("before it writes its journal");
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        write(&mut state.journal);
        if dies {
            state.kill_agent("after it wrote its journal");
        }
        Ok(())
    }
}

impl Store for Tape {
    fn append(&mut self, bytes: &[u8], _: u64) -> io::Result<()> {
        self.write(|journal| journal.extend_from_slice(bytes))
    }

    fn replace(&mut self, bytes: &[u8], _: u64) -> io::Result<()> {
        self.write(|journal| bytes.clone_into(journal))
    }
}

impl State {
    /// The agent is killed, and ends before it does anything more.
    pub(crate) fn kill_agent(&mut self, when: &str) {
        if self.agent.number == 0 || self.agent.is_dying {
            return;
        }
        self.tell("agent", |_| format!("is killed {when}"));
        self.agent.is_dying = true;
        let now = self.now;
        for machine in &mut self.machines {
            machine.heard_leaving = machine.heard_leaving.filter(|heard| *heard < now); // it had no time to write it
        }
        self.agent.hints = None;
        self.wires.iter().for_each(|line| line.wire.lock().unwrap().close());
        if self.strikes(Seen::JournalTorn) {
            let end = self.journal.len().saturating_sub(1);
            let begin = self.journal[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let half = self.journal[begin..begin + (end - begin) / 2].to_vec();
            self.journal.extend(half);
        }
    }

    /// The process of a machine that wants to connect to the agent.
    fn plug(&self, machine: usize) -> Option<usize> {
        let is_open =
            |run: usize| self.wires.iter().any(|line| line.run == run && !line.wire.lock().unwrap().closed);
        (0..self.runs.len()).rev().find(|run| {
            let of = &self.runs[*run];
            of.machine == machine && of.alive && of.here && !is_open(*run)
        })
    }
}

/// Runs one agent after the other.
pub(crate) async fn keep(world: Arc<World>, spawner: Spawner) {
    for number in 1.. {
        begin(&world, &spawner, number);
        while !world.lock().agent.is_dying {
            world.killed.notified().await;
        }
        let pause = {
            let mut state = world.lock();
            state.agent = crate::world::AgentSide::default();
            state.rng.between(10, 3000)
        };
        spawner.end(number);
        sleep(Duration::from_millis(pause)).await;
    }
}

fn begin(world: &Arc<World>, spawner: &Spawner, number: u64) {
    let hypervisor: Arc<dyn Hypervisor> = Arc::new(Hand { world: world.clone(), agent: number });
    let (hints, heard) = mpsc::channel(16);
    let ends = hints.clone();
    let (stopping, stop) = watch::channel(false);
    let (content, machines) = {
        let mut state = world.lock();
        state.agent.number = number;
        state.agent.hints = Some(hints);
        state.agent.stopping = Some(stopping);
        state.tell("agent", |_| format!("number {number} begins"));
        if state.connected {
            state.push_change(Change::Everything);
        }
        (state.journal.clone(), state.machines.len())
    };
    let journal =
        Journal::open(Box::new(Tape { world: world.clone(), agent: number }), &content, "this boot");
    let remembered = Inventory::remembering(journal.elsewhere().clone());
    let (published, inventory) = watch::channel(Arc::new(remembered));
    let census = Census::new(hypervisor.clone(), heard, published, Duration::from_secs(30));
    spawner.begin(number, census.run());
    let (queue, work) = mpsc::channel(64);
    spawner.begin(number, carry_out(work, spawner.clone(), number));
    let patience = Patience { kill_after: Duration::from_secs(5), give_up_after: Duration::from_secs(45) };
    let since_boot = Duration::from_millis(world.now());
    let orders = Orders::new(
        hypervisor.clone(),
        (inventory.clone(), ends.clone()),
        patience,
        queue,
        (journal, since_boot),
    );
    let (_, policy) = watch::channel(Arc::new(Policy::default()));
    let (board, host_status) = (Board::default(), Facts::default());
    let agent =
        Agent { hypervisor, inventory, policy, orders, board, host_status, hints: ends, stopping: stop };
    let agent = Arc::new(agent);
    spawner.begin(number, follow(agent.clone()));
    for machine in 0..machines {
        spawner.begin(number, tend(world.clone(), agent.clone(), machine, number));
    }
}

/// What the daemon does with orders.
async fn carry_out(mut work: mpsc::Receiver<Work>, spawner: Spawner, number: u64) {
    while let Some(order) = work.recv().await {
        spawner.begin(number, order);
    }
}

/// What the daemon does when domains come and go.
async fn follow(agent: Arc<Agent>) {
    let mut inventory = agent.inventory.clone();
    while inventory.changed().await.is_ok() {
        let now = inventory.borrow_and_update().clone();
        agent.orders.retain(&now);
    }
}

/// What `channel/tend.rs` does with sockets: whoever connects is recognised and served.
async fn tend(world: Arc<World>, agent: Arc<Agent>, machine: usize, number: u64) {
    let quota = Quota::default();
    loop {
        let pause = {
            let mut state = world.lock();
            if state.plug(machine).is_some() { Some(state.rng.between(0, 1000)) } else { None }
        };
        let Some(pause) = pause else {
            world.plugs.notified().await;
            continue;
        };
        sleep(Duration::from_millis(pause)).await;
        let Some((port, pid)) = plug(&world, machine, number) else { continue };
        let domain = agent.domains().get(world.lock().machines[machine].uuid).cloned();
        let guest = domain.map(|domain| Guest::recognise(&*agent.hypervisor, &domain, pid));
        if let Some(Ok(guest)) = guest {
            let wire = port.wire.clone();
            let ended = session::serve(&mut Channel::new(port), &guest, &agent, &quota).await;
            wire.lock().unwrap().close();
            if guest.instance().process.is_gone() {
                let _ = agent.hints.try_send(Hint::Changed(guest.uuid()));
            }
            let mut state = world.lock();
            state.tell("agent", |s| format!("serves {} no more: {ended}", s.name(machine)));
        } else {
            port.wire.lock().unwrap().close();
            sleep(Duration::from_millis(500)).await;
        }
    }
}

fn plug(world: &Arc<World>, machine: usize, number: u64) -> Option<(Port, i32)> {
    let mut state = world.lock();
    let run = state.plug(machine).filter(|_| state.may_act(number))?;
    let (pid, wire) = (state.runs[run].pid, Arc::default());
    let line = state.wires.len();
    state.wires.push(Line { machine, run, wire: Arc::clone(&wire), slow_until: 0, read_at: 0 });
    state.tell("world", |s| format!("{} (pid {pid}) is on line {line}", s.name(machine)));
    Some((Port { world: world.clone(), number: line, wire }, pid))
}
