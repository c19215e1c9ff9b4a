//! A soak: everything at once, for as long as one likes. Guests come and go, some ask, some misbehave, libvirtd and the agent
//! die and hang; nobody is told a false "off", no verdict is lost, and nothing grows.
//!
//! In:  `FENCE_SOAK_MINUTES`, from `make soak MINUTES=N`; without it the short soak of `make check`. `FENCE_TEST_SEED`.
//! Out: a table of what the agent held, and one line with the result.
//!
//! The agent is restarted in the first part of the soak only: what grows is seen in one long life.

mod crowd;
mod gauge;
mod herd;
mod weather;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::{Agent, Asker, Channel, Dice, Guest, Lab, Result, host};
use gauge::Gauge;

/// As long as `make check` soaks.
const SHORT: Duration = Duration::from_secs(45);
/// The first part of the soak, in which the agent is restarted now and then: so many hundredths.
const RESTARTS: u32 = 30;
/// Who only looks, and who fences: together they ask a hundred times a second.
const LOOKERS: usize = 12;
const FENCERS: usize = 3;
/// Guests that are defined, started, stopped and forgotten all the time.
const DROVERS: usize = 2;

/// What all threads share.
struct Soak<'lab> {
    lab: &'lab Lab,
    agent: Mutex<Agent<'lab>>,
    /// It runs all the time, and nobody fences it.
    witness: Guest<'lab>,
    begun: Instant,
    lasts: Duration,
    is_over: AtomicBool,
    /// Since when the agent was not restarted any more.
    settled: Mutex<Option<Instant>>,
    counts: Counts,
    violations: Mutex<Vec<String>>,
}

/// What was done, and what came of it.
#[derive(Debug, Default)]
struct Counts {
    looks: AtomicUsize,
    orders: AtomicUsize,
    failures: AtomicUsize,
    repeats: AtomicUsize,
    reconnects: AtomicUsize,
    guests: AtomicUsize,
    blows: AtomicUsize,
    rudeness: AtomicUsize,
}

impl Counts {
    fn one_more(count: &AtomicUsize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl<'lab> Soak<'lab> {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed) && self.begun.elapsed() < self.lasts
    }

    /// Waits, but not beyond the end.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.goes_on() && Instant::now() < until {
            thread::sleep((until - Instant::now()).min(Duration::from_millis(100))); // the pace is the test
        }
    }

    /// Something that must never be. The soak ends.
    fn violation(&self, what: &str) {
        let what = format!("after {:.0?}: {what}", self.begun.elapsed());
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn agent(&self) -> MutexGuard<'_, Agent<'lab>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> MutexGuard<'_, Option<Instant>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lasts() -> Duration {
    let minutes = std::env::var("FENCE_SOAK_MINUTES").ok().and_then(|text| text.parse::<f64>().ok());
    minutes.map_or(SHORT, |minutes| Duration::from_secs_f64(minutes * 60.0))
}

#[test]
fn nothing_grows_and_nothing_false_is_said_while_guests_come_and_go_and_everything_fails() -> Result<()> {
    let lab = Lab::start()?;
    host::install_hook(&lab)?;
    let agent = Agent::start_with(&lab, "kill-after-seconds = 1\n")?;
    let witness =
        Guest::named("witness").in_cluster("web").with(Channel::VirtioConnect).cheap().start(&lab)?;
    let askers = |kind: &str, count| -> Result<Vec<_>> {
        (0..count).map(|number| Asker::in_cluster(&lab, &format!("{kind}{number}"), "web")).collect()
    };
    let (lookers, fencers, rude) =
        (askers("looker", LOOKERS)?, askers("fencer", FENCERS)?, askers("rude", 1)?);
    let soak = Soak {
        lab: &lab,
        agent: Mutex::new(agent),
        witness,
        begun: Instant::now(),
        lasts: lasts(),
        is_over: AtomicBool::new(false),
        settled: Mutex::new(None),
        counts: Counts::default(),
        violations: Mutex::new(Vec::new()),
    };
    let mut dice = Dice::cast()?;

    let gauge = thread::scope(|scope| {
        let soak = &soak;
        for (number, looker) in lookers.into_iter().enumerate() {
            scope.spawn(move || crowd::look(soak, looker, number));
        }
        for (number, fencer) in fencers.into_iter().enumerate() {
            let dice = dice.another();
            scope.spawn(move || crowd::fence(soak, fencer, number, dice));
        }
        for one in rude {
            scope.spawn(move || crowd::be_rude(soak, one));
        }
        for number in 0..DROVERS {
            let dice = dice.another();
            scope.spawn(move || herd::drive(soak, number, dice));
        }
        let dice = dice.another();
        scope.spawn(move || weather::rage(soak, dice));
        Gauge::watch(soak)
    });

    let ended = soak.agent().stop()?;
    if ended != Some(0) {
        soak.violation(&format!("asked to end, the agent ended with {ended:?}"));
    }
    println!("{}", gauge.table().join("\n"));
    let took = soak.begun.elapsed();
    let asked = soak.counts.looks.load(Ordering::Relaxed) + soak.counts.orders.load(Ordering::Relaxed);
    println!("from the first third of the agent's last life to its last third:");
    for (growth, is_too_much) in gauge.growth(&soak) {
        println!("{growth}");
        if is_too_much {
            soak.violation(&growth);
        }
    }
    let violations = soak.violations.lock().unwrap_or_else(PoisonError::into_inner);
    let rate = asked as f64 / took.as_secs_f64();
    println!("{:?}", soak.counts);
    println!("soak: {took:.0?}, {asked} requests ({rate:.0} a second), {} violations", violations.len());
    assert!(violations.is_empty(), "{violations:#?}");
    Ok(())
}
