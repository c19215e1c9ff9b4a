//! One thing, done by the agent, by fence_virtd, and directly.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::goals::{Goal, Judged};
use crate::samples::{Samples, milliseconds};

/// What one of them needed.
#[derive(Debug, Default, Clone)]
pub(crate) enum Side {
    /// It was not asked.
    #[default]
    Absent,
    Took(Samples),
    /// It does not do that, in words.
    Never(String),
}

impl Side {
    pub(crate) fn p50(&self) -> Option<Duration> {
        self.samples().map(Samples::p50)
    }

    pub(crate) fn samples(&self) -> Option<&Samples> {
        match self {
            Self::Took(samples) => Some(samples),
            Self::Absent | Self::Never(_) => None,
        }
    }

    /// Rounds, median and p99.
    pub(super) fn cells(&self) -> [String; 3] {
        match self {
            Self::Absent => [String::new(), String::new(), String::new()],
            Self::Never(why) => [String::new(), why.clone(), String::new()],
            Self::Took(samples) => {
                [samples.count().to_string(), milliseconds(samples.p50()), milliseconds(samples.p99())]
            }
        }
    }

    fn word(&self) -> String {
        match self {
            Self::Absent => "-".to_owned(),
            Self::Never(why) => why.clone(),
            Self::Took(samples) => milliseconds(samples.p50()),
        }
    }
}

/// One thing, and how long each of them takes for it.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) ours: Side,
    pub(crate) incumbent: Side,
    pub(crate) direct: Side,
    /// The direct call.
    pub(super) directly: &'static str,
    goal: Option<Goal>,
    /// Its name in the plot, where it has a place there.
    pub(crate) plotted: Option<String>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, ours: Samples) -> Self {
        Self {
            what: what.into(),
            ours: Side::Took(ours),
            incumbent: Side::Absent,
            direct: Side::Absent,
            directly: "",
            goal: None,
            plotted: None,
        }
    }

    /// A thing that only fence_virtd was asked for.
    pub(crate) fn of_the_incumbent(what: impl Into<String>, took: Samples) -> Self {
        Self { ours: Side::Absent, ..Self::new(what, Samples::default()) }.incumbent(took)
    }

    pub(crate) fn incumbent(mut self, took: Samples) -> Self {
        self.incumbent = Side::Took(took);
        self
    }

    pub(crate) fn incumbent_never(mut self, why: impl Into<String>) -> Self {
        self.incumbent = Side::Never(why.into());
        self
    }

    pub(crate) fn direct(mut self, how: &'static str, took: Samples) -> Self {
        (self.directly, self.direct) = (how, Side::Took(took));
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn plotted(mut self, name: impl Into<String>) -> Self {
        self.plotted = Some(name.into());
        self
    }

    /// The agent's median divided by another one.
    pub(super) fn ratio(&self, to: &Side) -> String {
        match (self.ours.p50(), to.p50()) {
            (Some(ours), Some(other)) if !other.is_zero() => {
                let ratio = ours.as_secs_f64() / other.as_secs_f64();
                if ratio < 0.1 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
            }
            _ => String::new(),
        }
    }

    pub(super) fn judged(&self) -> Option<Judged> {
        let (goal, ours) = (self.goal?, self.ours.p50()?);
        Some(Judged {
            what: self.what.clone(),
            incumbent: self.incumbent.word(),
            ours: self.ours.word(),
            goal: goal.text(),
            is_met: goal.is_met(ours, self.direct.p50()),
            otherwise: goal.otherwise.to_owned(),
        })
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, incumbent, direct] = [&self.ours, &self.incumbent, &self.direct].map(Side::word);
        write!(f, "{}: agent {ours}, fence_virtd {incumbent}, direct {direct}", self.what)
    }
}
