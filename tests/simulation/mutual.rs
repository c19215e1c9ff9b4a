//! Two guests lose each other and fence each other at the same instant: exactly one survives.

use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::{Ask, Method, Power, Request, RequestId, Target};
use tokio::time::sleep;

use crate::rng::Rng;
use crate::seen::{FAULTS, Seen};
use crate::tasks::Spawner;
use crate::world::{State, World};

/// Faults that leave a machine alive only if nobody ends it.
const FAULTY: [Seen; 14] = [
    Seen::CallFails,
    Seen::CallHangs,
    Seen::CallIsLate,
    Seen::CallIsBusy,
    Seen::StopOnlySaysSo,
    Seen::StopFailsAndKills,
    Seen::StopFails,
    Seen::StopIsLate,
    Seen::EventLost,
    Seen::EventDoubled,
    Seen::EventLate,
    Seen::NoteLost,
    Seen::ScanSlow,
    Seen::IgnoresTerm,
];

pub(crate) fn rates(rng: &mut Rng) -> [u64; FAULTS] {
    let mut rates = [0; FAULTS];
    for fault in FAULTY {
        if rng.chance(200) {
            rates[fault as usize] = rng.pick(&[5, 30, 150]).unwrap_or_default();
        }
    }
    rates
}

pub(crate) fn begin(world: &Arc<World>, spawner: &Spawner, rng: &mut Rng) {
    let persistent = rng.chance(800);
    {
        let mut state = world.lock();
        (0..2).for_each(|number| state.add_machine(number, 0, persistent, true));
    }
    let preferred = rng.chance(300).then(|| rng.below(2));
    spawner.begin(0, race(world.clone(), spawner.clone(), preferred));
}

async fn race(world: Arc<World>, spawner: Spawner, preferred: Option<usize>) {
    while (0..2).any(|machine| world.lock().line_of(machine).is_none()) {
        sleep(Duration::from_millis(50)).await;
    }
    let (first, between) = {
        let mut state = world.lock();
        let between = state.rng.pick(&[0, 0, 0, 1, 2, 10]).unwrap_or_default();
        (state.rng.below(2), between)
    };
    world.lock().saw(Seen::Mutual);
    for (number, machine) in [first, 1 - first].into_iter().enumerate() {
        if number > 0 && between > 0 {
            sleep(Duration::from_millis(between)).await;
        }
        let waits = preferred.is_some_and(|preferred| preferred != machine);
        world.lock().fences(machine, number, waits);
    }
    // Who was told nothing asks again, as clients do.
    for again in 2..6 {
        sleep(Duration::from_millis(900)).await;
        for machine in 0..2 {
            let waits = preferred.is_some_and(|preferred| preferred != machine);
            world.lock().fences(machine, again * 2 + machine, waits);
        }
    }
    sleep(Duration::from_secs(60)).await;
    let mut state = world.lock();
    let left: Vec<usize> = (0..2).filter(|machine| !state.is_free(*machine)).collect();
    if left.len() != 1 || preferred.is_some_and(|preferred| left != [preferred]) {
        state.wrong(|_| {
            format!("{left:?} are left of two that fenced each other, preferred was {preferred:?}")
        });
    }
    state.judge_end();
    spawner.finish();
}

impl State {
    fn line_of(&self, machine: usize) -> Option<usize> {
        (0..self.wires.len()).rev().find(|line| {
            let of = &self.wires[*line];
            of.machine == machine && self.runs[of.run].alive && !of.wire.lock().unwrap().closed
        })
    }

    fn fences(&mut self, machine: usize, number: usize, waits: bool) {
        let Some(line) = self.line_of(machine) else { return };
        let other = 1 - machine;
        let target = Target::Name(self.machines[other].name.parse().unwrap());
        let request = Request {
            id: RequestId::from_random((number as u128 + 1).to_be_bytes()).unwrap(),
            ask: Ask::Power(Power::Off, target),
            timeout: Duration::from_secs(55),
            delay: Duration::from_secs(if waits { 4 } else { 0 }),
            method: Method::OnOff,
        };
        self.send(line, &request, Some(other));
    }
}
