//! Rounds: how often a test does what it does, and what the figures of its rounds come to.
//!
//! In:  `FENCE_TEST_ROUNDS`, for `make endurance`. Out: a number of rounds; the [`Spread`] of their times.

use std::fmt;
use std::time::Duration;

/// So many as the environment says, or `in_check` of them.
#[must_use]
pub fn rounds(in_check: usize) -> usize {
    let chosen = std::env::var("FENCE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok());
    chosen.unwrap_or(in_check)
}

/// The times of many rounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Of these times.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that half of the rounds were not longer than.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.0.get(self.0.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    /// The longest.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shortest = self.0.first().copied().unwrap_or_default();
        let (count, median, longest) = (self.0.len(), self.median(), self.longest());
        write!(f, "{count} times: shortest {shortest:.1?}, p50 {median:.1?}, longest {longest:.1?}")
    }
}
