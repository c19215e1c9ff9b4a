//! One seed: a host, its guests, its fate, and what the oracle says in the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use crate::guests::Habits;
use crate::rng::Rng;
use crate::seen::{Coverage, FAULTS, Seen};
use crate::tasks::{Spawner, Tasks};
use crate::world::machine::{Machine, Opinion};
use crate::world::{State, World};
use crate::{agent, fate, guests, mutual};
use fence_vmchannel_host_agent::domain::Standing;

/// After this many milliseconds the last open request must have ended.
const END: u64 = 140_000;

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything that can happen.
    Anything,
    /// One kind of trouble over and over, and little else.
    Dense,
    /// Two guests that fence each other.
    Mutual,
}

/// What a seed came to.
pub(crate) struct Played {
    pub(crate) coverage: Coverage,
    pub(crate) violation: Option<String>,
    pub(crate) history: String,
}

/// Plays one seed from its beginning to its end.
pub(crate) fn play(kind: Kind, seed: u64, tells: bool) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(tokio::task::unconstrained(async move {
        let mut rng = Rng::new(seed);
        let rates = match kind {
            Kind::Anything => rates(&mut rng),
            Kind::Dense => dense_rates(&mut rng),
            Kind::Mutual => mutual::rates(&mut rng),
        };
        let world = Arc::new(World::new(rng.next(), rates, tells));
        let spawner = Spawner::default();
        if rates == [0; FAULTS] {
            world.lock().saw(Seen::Quiet);
        }
        spawner.begin(0, crate::world::effects::happen(world.clone()));
        match kind {
            Kind::Anything => {
                begin_anything(&world, &spawner, &mut rng, (&[60, 400, 1000, 2000, 5000], &[200, 1000, 4000]))
            }
            Kind::Dense => {
                begin_anything(&world, &spawner, &mut rng, (&[200, 400, 1000, 2000], &[200, 1000]))
            }
            Kind::Mutual => mutual::begin(&world, &spawner, &mut rng),
        }
        spawner.begin(0, agent::keep(world.clone(), spawner.clone()));
        Tasks::new(spawner, rng).await;
        let mut state = world.lock();
        Played {
            coverage: std::mem::take(&mut state.coverage),
            violation: state.oracle.violation.take(),
            history: state.history.take().unwrap_or_default(),
        }
    }))
}

/// Each world has some of the faults, so that each of them is seen alone and beside each other.
fn rates(rng: &mut Rng) -> [u64; FAULTS] {
    let share = rng.pick(&[0, 60, 150, 300, 500]).unwrap_or_default();
    let mut rates = [0; FAULTS];
    for (fault, rate) in rates.iter_mut().enumerate() {
        if rng.chance(share) {
            let some = rng.pick(&[5, 30, 150, 400]).unwrap_or_default();
            let is_rare = [Seen::Immortal, Seen::AgentDiesActing, Seen::AgentDiesWriting].map(|f| f as usize);
            *rate = if is_rare.contains(&fault) { some.min(100) } else { some };
        }
    }
    rates
}

/// Troubles that need each other to do harm.
const THEMES: [&[Seen]; 7] = [
    &[Seen::Leaves, Seen::Arrives, Seen::StopIsLate],
    &[Seen::LosesSight, Seen::AgentDies, Seen::ScanUnsure],
    &[Seen::AgentDies, Seen::Restarts, Seen::Starts, Seen::ScanSlow],
    &[Seen::Restarts, Seen::Starts, Seen::ScanSlow],
    &[Seen::LibvirtDies, Seen::LibvirtHangs, Seen::Restarts],
    &[Seen::IgnoresTerm, Seen::StopIsLate, Seen::Restarts, Seen::Starts],
    &[Seen::AgentHeldUp, Seen::Leaves, Seen::Restarts, Seen::Starts, Seen::StopIsLate],
];

fn dense_rates(rng: &mut Rng) -> [u64; FAULTS] {
    let mut rates = [0; FAULTS];
    let theme = rng.pick(&THEMES).unwrap_or_default();
    let others = [rng.below(FAULTS), rng.below(FAULTS)];
    for fault in theme.iter().map(|fault| *fault as usize).chain(others) {
        rates[fault] = rng.pick(&[30, 100, 400]).unwrap_or_default();
    }
    rates[Seen::Immortal as usize] = rates[Seen::Immortal as usize].min(30);
    rates
}

fn begin_anything(world: &Arc<World>, spawner: &Spawner, rng: &mut Rng, (asks, strikes): (&[u64], &[u64])) {
    let (count, clusters) = (2 + rng.below(4), 1 + rng.below(2));
    {
        let mut state = world.lock();
        for number in 0..count {
            let cluster = if number < 2 { 0 } else { rng.below(clusters) };
            let persistent = rng.chance(800);
            state.add_machine(number, cluster, persistent, !persistent || rng.chance(850));
        }
    }
    let until = rng.between(2_000, 25_000);
    let habits = Habits {
        until,
        pause: rng.pick(asks).unwrap_or(500),
        weights: [
            rng.between(1, 10),
            rng.between(0, 6),
            rng.between(0, 6),
            rng.between(0, 6),
            rng.between(0, 3),
            1,
        ],
        repeats: rng.between(0, 300),
        delays: rng.between(0, 150),
        strays: rng.between(0, 100),
        mutual: rng.between(0, 150),
        asked: Vec::new(),
    };
    let pause = rng.pick(strikes).unwrap_or(1000);
    spawner.begin(0, fate::strike(world.clone(), spawner.clone(), until, pause));
    spawner.begin(0, guests::ask(world.clone(), habits));
    spawner.begin(0, end(world.clone(), spawner.clone(), until));
}

/// Ends the round when nothing is open any more, or when it should be.
async fn end(world: Arc<World>, spawner: Spawner, until: u64) {
    loop {
        sleep(Duration::from_millis(500)).await;
        let mut state = world.lock();
        let is_over = state.now > until && state.open_requests() == 0;
        if is_over || state.now > END || state.oracle.violation.is_some() {
            state.judge_end();
            return spawner.finish();
        }
    }
}

impl State {
    pub(crate) fn add_machine(&mut self, number: usize, cluster: usize, persistent: bool, runs: bool) {
        self.machines.push(Machine {
            uuid: Uuid::from_u128(0xa0 + number as u128),
            name: format!("vm{number}"),
            cluster,
            persistent,
            is_defined: persistent,
            libvirt: Some(Opinion { active: false, standing: Standing::ShutOff }),
            pid_file: None,
            moving: None,
            has_left: false,
            heard_leaving: None,
            was_ended: false,
            starts_late: Vec::new(),
            prepared: 0,
            last_free: 0,
            last_here: 0,
        });
        if runs {
            self.start(number, "the host's start");
        }
    }
}
