//! What is measured of the agent.
//!
//! In:  the agent's pid and the times of answers. Out: figures, printed as one row.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The percentile of these times by the nearest rank; the longest of all where there are few.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// The processor time that a process has used.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10) // 100 ticks a second, everywhere
}

/// The share of one processor that a process uses meanwhile.
pub(crate) fn processor_share<T>(pid: u32, meanwhile: impl FnOnce() -> T) -> (T, f64) {
    let (begun, before) = (Instant::now(), processor_time(pid));
    let result = meanwhile();
    let used = processor_time(pid) - before;
    (result, used.as_secs_f64() / begun.elapsed().as_secs_f64())
}

/// What memory a process has, in KiB: all of it, and its own.
pub(crate) fn memory(pid: u32) -> (usize, usize) {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = |key: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (kib("Rss:"), kib("Anonymous:"))
}

/// A number from the environment.
pub(crate) fn setting(name: &str, in_check: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(in_check)
}

/// How long a byte takes to another thread and back meanwhile: what this machine makes of any question and answer, whoever
/// answers.
pub(crate) fn beside_an_echo<T>(meanwhile: impl FnOnce() -> T) -> (T, Vec<Duration>) {
    let (mut asks, mut answers) = UnixStream::pair().unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0];
            while answers.read_exact(&mut byte).and_then(|()| answers.write_all(&byte)).is_ok() {}
        });
        let echo = scope.spawn(|| {
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                asks.write_all(&[1]).and_then(|()| asks.read_exact(&mut [0])).unwrap();
                took.push(begun.elapsed());
                thread::sleep(Duration::from_millis(14)); // as often as an honest guest asks
            }
            drop(asks);
            took
        });
        let result = meanwhile();
        over.store(true, Ordering::Relaxed);
        (result, echo.join().unwrap())
    })
}
