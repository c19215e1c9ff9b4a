//! Asks the real session, policy, arbiter and orders one question in one scene.
//!
//! In:  a [`Scene`] and an [`Op`]. Out: what was answered and what was done.

use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_host_agent::agent::Agent;
use fence_vmchannel_host_agent::audit::Quota;
use fence_vmchannel_host_agent::channel::Channel;
use fence_vmchannel_host_agent::channel::board::Board;
use fence_vmchannel_host_agent::host_status::Facts;
use fence_vmchannel_host_agent::identity;
use fence_vmchannel_host_agent::inventory::Inventory;
use fence_vmchannel_host_agent::journal::Journal;
use fence_vmchannel_host_agent::orders::{Orders, Patience};
use fence_vmchannel_host_agent::policy::Policy;
use fence_vmchannel_host_agent::session;
use fence_vmchannel_protocol::{Ask, Body, Evidence, Item, Power, PowerState, Reason, Reply, Ruling};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};

use crate::clock::settle;
use crate::guest::{Guest, power, reply_in, request};
use crate::scene::Scene;
use crate::script::{ASKER, Moment, Script};

/// What the settings say by default.
const PATIENCE: Patience =
    Patience { kill_after: Duration::from_secs(5), give_up_after: Duration::from_secs(45) };

/// How far the clock moves at once. The table tells seconds.
const STEP: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Status,
    List,
    Off,
    On,
    Reboot,
}

/// All that can be asked of a target, in the order of the table.
pub(crate) const OPS: [Op; 5] = [Op::Status, Op::List, Op::Off, Op::On, Op::Reboot];

/// What was answered and what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) ruling: Ruling,
    pub(crate) state: Option<PowerState>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) took: Duration,
    pub(crate) actions: Vec<String>,
    /// How the target really was when the answer came.
    pub(crate) then: Moment,
}

/// Asks this in this scene, in a world and a time of its own.
pub(crate) fn ask(scene: Scene, op: Op) -> Answer {
    let world =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    world.block_on(answer(Arc::new(Script::of(scene)), op))
}

async fn answer(script: Arc<Script>, op: Op) -> Answer {
    let mut tasks = JoinSet::new();
    let mut guest = guest_on(&script, &mut tasks);
    let asked = Instant::now();
    let request = match op {
        Op::Status => request(Ask::Status("target".parse().unwrap())),
        Op::List => request(Ask::List),
        Op::Off => power(Power::Off, "target"),
        Op::On => power(Power::On, "target"),
        Op::Reboot => power(Power::Reboot, "target"),
    };
    guest.sends(&request);
    let (ruling, state, evidence) = loop {
        match hears(&mut guest).await.body {
            Body::Progress(..) => {}
            Body::Verdict(verdict) => break (verdict.ruling, verdict.state, verdict.evidence),
            Body::Items(items, _) => break listed(&items),
            Body::Hello(_) | Body::Whoami(_) | Body::HostStatus(_) => panic!("nobody asked for that"),
        }
    };
    Answer { ruling, state, evidence, took: asked.elapsed(), actions: script.actions(), then: script.now() }
}

fn listed(items: &[Item]) -> (Ruling, Option<PowerState>, Option<Evidence>) {
    let state = items.iter().find(|item| item.name.as_str() == "target").and_then(|item| item.state);
    (state.map_or(Ruling::Failed(Reason::UnknownState), |_| Ruling::Done), state, None)
}

/// The next reply, however long it takes.
async fn hears(guest: &mut Guest) -> Reply {
    loop {
        settle().await;
        match guest.has_heard() {
            Some(line) => return reply_in(&line),
            None => advance(STEP).await,
        }
    }
}

/// An agent that knows what was seen, and the asker's connection to it.
fn guest_on(script: &Arc<Script>, tasks: &mut JoinSet<()>) -> Guest {
    let inventory = watch::channel(Arc::new(Inventory::from_iter(script.seen()))).1;
    let policy = watch::channel(Arc::new(Policy::default())).1;
    let stopping = watch::channel(false).1;
    let (queue, mut work) = mpsc::channel(16);
    let journal = (Journal::in_memory(), Duration::ZERO);
    let orders =
        Orders::new(script.clone(), (inventory.clone(), mpsc::channel(1).0), PATIENCE, queue, journal);
    let agent = Agent {
        hypervisor: script.clone(),
        inventory,
        policy,
        orders,
        board: Board::default(),
        host_status: Facts::default(),
        hints: mpsc::channel(1).0,
        stopping,
    };
    let asker = agent.domains().get(ASKER).cloned().unwrap();
    let pid = asker.instance.as_ref().unwrap().id.pid;
    let asker = identity::Guest::recognise(&**script, &asker, pid).unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut channel = Channel::new(tokio::net::UnixStream::from_std(ours).unwrap());
    let (ending, ended) = watch::channel(None);
    tasks.spawn(async move {
        let why = session::serve(&mut channel, &asker, &agent, &Quota::default()).await;
        ending.send_replace(Some(why));
    });
    tasks.spawn(async move {
        let mut orders = JoinSet::new();
        while let Some(order) = work.recv().await {
            orders.spawn(order);
        }
    });
    Guest::at(theirs, ended)
}
