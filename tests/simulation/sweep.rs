//! Many seeds, on all cores.
//!
//! In:  SEEDS and FROM of the environment, or what the test wants. Out: a table of what occurred; at the first seed that
//! fails its history, and how to play it again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::round::{Kind, play};
use crate::seen::Coverage;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Plays all seeds of a sweep, and fails with the history of the first that is wrong.
pub(crate) fn sweep(kind: Kind, seeds: u64) -> Coverage {
    if std::env::var("KIND").is_ok_and(|wanted| !wanted.is_empty() && wanted != format!("{kind:?}")) {
        return Coverage::default();
    }
    let (seeds, from) = (setting("SEEDS").unwrap_or(seeds), setting("FROM").unwrap_or(1));
    let (next, failed) = (AtomicU64::new(from), Mutex::new(None::<u64>));
    let total = Mutex::new(Coverage::default());
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let coverage = work(kind, (&next, from + seeds), &failed);
                total.lock().unwrap().add(&coverage);
            });
        }
        scope.spawn(|| report(&next, (from, seeds), begun, &failed));
    });
    let took = begun.elapsed();
    let coverage = total.into_inner().unwrap();
    println!("{kind:?}: {seeds} seeds from {from} in {:.1} s\n{}", took.as_secs_f64(), coverage.table());
    if let Some(seed) = failed.into_inner().unwrap() {
        let again = play(kind, seed, true);
        println!("{}", again.history);
        let what = again
            .violation
            .unwrap_or_else(|| "nothing, when played again: that is a bug of the simulation".into());
        panic!(
            "seed {seed} ({kind:?}): {what}\nplay it again: make simulate SEEDS=1 FROM={seed} KIND={kind:?}"
        );
    }
    coverage
}

fn work(kind: Kind, (next, end): (&AtomicU64, u64), failed: &Mutex<Option<u64>>) -> Coverage {
    let mut coverage = Coverage::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end || failed.lock().unwrap().is_some() {
            return coverage;
        }
        let played = std::panic::catch_unwind(|| play(kind, seed, false));
        match played {
            Ok(played) => {
                coverage.add(&played.coverage);
                if let Some(what) = &played.violation {
                    if std::env::var_os("KEEP_GOING").is_some() {
                        println!("seed {seed} fails: {what}");
                        continue;
                    }
                    failed.lock().unwrap().get_or_insert(seed);
                }
            }
            Err(_) => {
                println!("seed {seed} ({kind:?}) panicked");
                failed.lock().unwrap().get_or_insert(seed);
            }
        }
    }
}

/// Says every ten seconds how far it is.
fn report(next: &AtomicU64, (from, seeds): (u64, u64), begun: Instant, failed: &Mutex<Option<u64>>) {
    let mut told = Instant::now();
    while next.load(Ordering::Relaxed) < from + seeds && failed.lock().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(20));
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            let done = next.load(Ordering::Relaxed) - from;
            let rate = done as f64 / begun.elapsed().as_secs_f64();
            println!("{done} of {seeds} seeds, {rate:.0} a second");
        }
    }
}
