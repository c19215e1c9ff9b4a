//! The figures as people read them.
//!
//! In:  rows, in the order in which they were measured. Out: Markdown on stdout and in `docs/performance.md`.

use std::fmt::{self, Display};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::machine::WORKSPACE;
use crate::memory::Held;
use crate::samples::Samples;

/// Of the agent with a hundred guests.
const RESIDENT_GOAL_KIB: usize = 16 * 1024;

const HOW: &str = "\
<!-- Written by `make bench`: change the bench, not this file. -->
# Performance

Asked at the agent's own socket, without the guest's part; libvirtd and QEMU are real, the guests are small QEMU processes
without an operating system. The agent and the direct call of libvirt (in C, from one process that is connected already)
take turns in one run; read the ratios, since the figures are those of this machine at that time. libvirtd's children are
reaped at once, else a destroy takes as long as PID 1 likes.

Each channel may ask 20 times a second; the questions go round 20 channels, each with a pause of 55 ms, so that no figure
holds a wait for that limit. p99 is the longest where there are less than a hundred rounds. Times are in milliseconds.
";

const MEMORY: &str = "\
In KiB. RSS counts every page of libvirt's libraries and of those that they need, shared with other programs or not; PSS
divides what is shared; anonymous is what belongs to the process alone.
";

/// What a row is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    None,
    /// The agent's median.
    Within(Duration),
    /// The agent's median divided by the direct one.
    Ratio(f64),
}

/// One thing, done by the agent and directly.
pub(crate) struct Row {
    what: String,
    ours: Samples,
    directly: String,
    direct: Samples,
    goal: Goal,
}

impl Row {
    pub(crate) fn new(what: &str, ours: Samples, directly: &str, direct: Samples, goal: Goal) -> Self {
        Self { what: what.to_owned(), ours, directly: directly.to_owned(), direct, goal }
    }

    fn ratio(&self) -> f64 {
        self.ours.p50().as_secs_f64() / self.direct.p50().as_secs_f64()
    }

    fn verdict(&self) -> (String, &'static str) {
        let met = |is_met| if is_met { "yes" } else { "**no**" };
        match self.goal {
            Goal::None => (String::new(), ""),
            Goal::Within(most) => (format!("p50 <= {}", milliseconds(most)), met(self.ours.p50() <= most)),
            Goal::Ratio(most) => (format!("ratio <= {most}"), met(self.ratio() <= most)),
        }
    }
}

/// All figures of a run.
pub(crate) struct Report {
    facts: Vec<(&'static str, String)>,
    rows: Vec<Row>,
    held: Vec<(&'static str, Held)>,
}

impl Report {
    pub(crate) fn of(facts: Vec<(&'static str, String)>) -> Self {
        Self { facts, rows: Vec::new(), held: Vec::new() }
    }

    /// Also says so at once: the whole takes minutes.
    pub(crate) fn add(&mut self, row: Row) {
        let [ours, direct] = [&row.ours, &row.direct].map(|samples| milliseconds(samples.p50()));
        writeln!(std::io::stderr(), "{}: {ours}, {}: {direct}", row.what, row.directly).ok();
        self.rows.push(row);
    }

    /// What a process holds while all domains run.
    pub(crate) fn holds(&mut self, who: &'static str, held: Held) {
        self.held.push((who, held));
    }

    /// Writes it among the documents.
    pub(crate) fn keep(&self) -> Result<()> {
        Ok(fs::write(Path::new(WORKSPACE).join("docs/performance.md"), self.to_string())?)
    }

    fn times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "rounds", "agent p50", "p99", "directly", "p50", "p99", "ratio", "goal", "met"];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| {
            let (goal, met) = row.verdict();
            [
                row.what.clone(),
                row.ours.count().to_string(),
                milliseconds(row.ours.p50()),
                milliseconds(row.ours.p99()),
                row.directly.clone(),
                milliseconds(row.direct.p50()),
                milliseconds(row.direct.p99()),
                format!("{:.2}", row.ratio()),
                goal,
                met.to_owned(),
            ]
        }));
        table(f, &lines)
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["who", "RSS", "PSS", "anonymous", "descriptors", "threads"];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.held.iter().map(|(who, held)| {
            let numbers = [held.resident, held.proportional, held.anonymous, held.descriptors, held.threads];
            let [resident, proportional, anonymous, descriptors, threads] = numbers.map(|n| n.to_string());
            [(*who).to_owned(), resident, proportional, anonymous, descriptors, threads]
        }));
        table(f, &lines)?;
        let agent = self.held.first().map_or(0, |(_, held)| held.resident);
        let met = if agent <= RESIDENT_GOAL_KIB { "met" } else { "**not met**" };
        writeln!(f, "\nGoal: the agent's RSS <= {RESIDENT_GOAL_KIB}: {met}.")
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HOW}")?;
        self.facts.iter().try_for_each(|(name, value)| writeln!(f, "- {name}: {value}"))?;
        writeln!(f, "\n## Times\n")?;
        self.times(f)?;
        writeln!(f, "\n## What processes hold, 100 domains, all running and served\n\n{MEMORY}")?;
        self.memory(f)
    }
}

/// A Markdown table that is a table in a terminal too; the first line is its head.
fn table<const COLUMNS: usize>(f: &mut fmt::Formatter<'_>, lines: &[[String; COLUMNS]]) -> fmt::Result {
    let mut widths = [0; COLUMNS];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.len().max(*width);
        }
    }
    for (number, line) in lines.iter().enumerate() {
        line.iter().zip(widths).try_for_each(|(cell, width)| write!(f, "| {cell:width$} "))?;
        writeln!(f, "|")?;
        if number == 0 {
            widths.iter().try_for_each(|width| write!(f, "|{:-<1$}", "", width + 2))?;
            writeln!(f, "|")?;
        }
    }
    Ok(())
}

/// Three digits that mean something.
fn milliseconds(time: Duration) -> String {
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
