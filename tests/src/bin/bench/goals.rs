//! What is to be reached.
//!
//! In:  a bound, and figures. Out: whether they are within it, in words.

use std::time::Duration;

use crate::samples::milliseconds;

/// A bound for one thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) bound: Bound,
    /// Why it is not reached, where it is not.
    pub(crate) otherwise: &'static str,
}

/// The most that the agent may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// Its median.
    Within(Duration),
    /// Its median divided by the direct one.
    Ratio(f64),
}

impl Goal {
    pub(crate) const fn within(most: Duration, otherwise: &'static str) -> Self {
        Self { bound: Bound::Within(most), otherwise }
    }

    pub(crate) const fn ratio(most: f64, otherwise: &'static str) -> Self {
        Self { bound: Bound::Ratio(most), otherwise }
    }

    /// In words.
    pub(crate) fn text(&self) -> String {
        match self.bound {
            Bound::Within(most) => format!("p50 <= {}", milliseconds(most)),
            Bound::Ratio(most) => format!("<= {most} x direct"),
        }
    }

    /// Whether this median is within it; `directly` is that of the direct call.
    pub(crate) fn is_met(&self, ours: Duration, directly: Option<Duration>) -> bool {
        match self.bound {
            Bound::Within(most) => ours <= most,
            Bound::Ratio(most) => {
                directly.is_some_and(|directly| ours.as_secs_f64() <= most * directly.as_secs_f64())
            }
        }
    }
}

/// One goal, and what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) what: String,
    pub(crate) incumbent: String,
    pub(crate) ours: String,
    pub(crate) goal: String,
    pub(crate) is_met: bool,
    /// Why not.
    pub(crate) otherwise: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_met_only_beside_a_direct_figure() {
        let goal = Goal::ratio(1.1, "");
        let [ours, directly] = [105, 100].map(Duration::from_millis);

        assert!(goal.is_met(ours, Some(directly)));
        assert!(!goal.is_met(ours, None));
        assert!(!goal.is_met(Duration::from_millis(111), Some(directly)));
    }
}
