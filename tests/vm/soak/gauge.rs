//! What the agent holds, looked at again and again.
//!
//! In:  the soak. Out: a table; what has grown in the agent's last life.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Soak;

/// Looks per soak: as many as make medians, and lines of the table.
const LOOKS: u32 = 120;
const LINES: usize = 30;
/// The beginning of a life is no measure: so many hundredths.
const WARM_UP: usize = 15;

/// One look.
struct Sample {
    at: Instant,
    values: [usize; COLUMNS.len()],
}

/// What is looked at, and by how much the median of the last third may be above that of the first.
const COLUMNS: [(&str, usize); 7] = [
    ("RSS KiB", 2048),
    ("anon KiB", 2048),
    ("descriptors", 12),
    ("threads", 0),
    ("notes", 8),
    ("sockets", 8),
    ("journal B", 0),
];
const RSS: usize = 0;
const ANON: usize = 1;
const THREADS: usize = 3;
const JOURNAL: usize = 6;
/// Each call that hangs in a libvirtd that stands still has a thread, and there are so many at most, with all others.
const MOST_THREADS: usize = 64;
/// What a thread costs: its stack, as far as it was used, and what the allocator keeps for it.
const THREAD_KIB: usize = 128;
/// The journal keeps what was done in ten minutes, each order in about so many bytes, and as much again before it is
/// written anew; but it is not written anew below the other bound.
const ORDER: usize = 1500;
const REWRITE_AT: usize = 256 * 1024;
const KEPT: usize = 600;

/// All looks.
pub(super) struct Gauge {
    begun: Instant,
    samples: Vec<Sample>,
}

impl Gauge {
    /// Looks until the soak ends.
    pub(super) fn watch(soak: &Soak<'_>) -> Self {
        let mut gauge = Self { begun: soak.begun, samples: Vec::new() };
        while soak.goes_on() {
            soak.rest((soak.lasts / LOOKS).min(Duration::from_secs(5)));
            gauge.samples.extend(look(soak));
        }
        gauge
    }

    /// The table.
    pub(super) fn table(&self) -> Vec<String> {
        let head: String = COLUMNS.iter().map(|(name, _)| format!("{name:>12}")).collect();
        let mut lines = vec![format!("{:>8}{head}", "after")];
        for sample in self.samples.iter().step_by(self.samples.len().div_ceil(LINES).max(1)) {
            let values: String = sample.values.iter().map(|value| format!("{value:>12}")).collect();
            lines.push(format!("{:>7.0?} {values}", sample.at - self.begun));
        }
        lines
    }

    /// How each figure went in the agent's last life, from the first third to the last, and whether that is too much.
    pub(super) fn growth(&self, soak: &Soak<'_>) -> Vec<(String, bool)> {
        let Some(settled) = *soak.settled() else {
            return vec![("the agent never came to rest".into(), true)];
        };
        let life: Vec<_> = self.samples.iter().filter(|sample| sample.at > settled).collect();
        let warm_up = life.len() * WARM_UP / 100;
        let third = (life.len() - warm_up) / 3;
        if third < 3 {
            return vec![(format!("only {} looks at the agent's last life", life.len()), true)];
        }
        let kept = kept(soak);
        let first = |column| median(life.iter().skip(warm_up).take(third), column);
        let last = |column| median(life.iter().rev().take(third), column);
        let threads = last(THREADS).saturating_sub(first(THREADS)) * THREAD_KIB;
        let judge = |(column, (name, tolerance))| {
            let (first, last) = (first(column), last(column));
            let most = match column {
                RSS | ANON => first + tolerance + threads + kept * ORDER / 1024, // verdicts are kept for ten minutes
                THREADS => MOST_THREADS,
                JOURNAL => 2 * (REWRITE_AT + kept * ORDER),
                _ => first + tolerance,
            };
            (format!("{name:>12}: {first} to {last}, at most {most}"), last > most)
        };
        COLUMNS.into_iter().enumerate().map(judge).collect()
    }
}

/// How many orders of the last ten minutes there are, as an average.
fn kept(soak: &Soak<'_>) -> usize {
    let (orders, took) = (soak.counts.orders.load(Ordering::Relaxed), soak.begun.elapsed().as_secs());
    let took = usize::try_from(took).unwrap_or(usize::MAX).max(1);
    orders * took.min(KEPT) / took
}

fn median<'a>(samples: impl Iterator<Item = &'a &'a Sample>, column: usize) -> usize {
    let mut values: Vec<_> = samples.filter_map(|sample| sample.values.get(column).copied()).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(usize::MAX)
}

/// Nothing while the agent is just being restarted.
fn look(soak: &Soak<'_>) -> Option<Sample> {
    let held = soak.agent().holdings().ok()?;
    let files = |place: &str| fs::read_dir(soak.lab.path(place)).map_or(0, Iterator::count);
    let journal = fs::metadata(soak.lab.path("/run/fence-vmchannel/journal"));
    Some(Sample {
        at: Instant::now(),
        values: [
            held.memory_kib,
            held.anonymous_kib,
            held.descriptors,
            held.threads,
            files("/run/fence-vmchannel/spool"),
            files("/run/fence-vmchannel/guests"),
            journal.map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX)),
        ],
    })
}
