//! Durations that were measured.

use std::time::{Duration, Instant};

/// Durations of one thing, in any order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn p50(&self) -> Duration {
        self.percentile(50)
    }

    /// The longest of all, where there are less than a hundred.
    pub(crate) fn p99(&self) -> Duration {
        self.percentile(99)
    }

    /// By the nearest rank.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        Self(durations.into_iter().collect())
    }
}

impl Extend<Duration> for Samples {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, durations: I) {
        self.0.extend(durations);
    }
}

/// How long this takes, and what it brings.
pub(crate) fn timed<T, E>(work: impl FnOnce() -> std::result::Result<T, E>) -> Result<(T, Duration), E> {
    let begun = Instant::now();
    let brought = work()?;
    Ok((brought, begun.elapsed()))
}

/// Three digits that mean something.
pub(crate) fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    let digits = if ms < 1.0 {
        3
    } else if ms < 100.0 {
        1
    } else {
        0
    };
    format!("{ms:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let of = |count: u64| (1..=count).rev().map(Duration::from_millis).collect::<Samples>();

        assert_eq!(of(20).p50(), Duration::from_millis(10));
        assert_eq!(of(20).p99(), Duration::from_millis(20));
        assert_eq!(of(300).p99(), Duration::from_millis(297));
        assert_eq!(of(0).p50(), Duration::ZERO);
    }
}
