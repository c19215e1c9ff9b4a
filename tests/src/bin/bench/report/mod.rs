//! The figures of a run.
//!
//! In:  rows, in the order in which they were measured. Out: Markdown on stdout and in a file, with plots beside it.
//!
//! Invariant: a part that failed is named with its reason; nothing of it passes for measured.

mod markdown;
mod row;

use std::fs;
use std::path::Path;
use std::time::Duration;

pub(crate) use row::{Row, Side};

use crate::error::{Result, unexpected};
use crate::goals::Judged;
use crate::memory::Held;
use crate::plots;
use crate::samples::Samples;
use crate::sections::tell;

/// Rows that belong together.
pub(crate) struct Chapter {
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// What an honest guest sees while another one misbehaves.
pub(crate) struct Attack {
    pub(crate) kind: &'static str,
    pub(crate) daemon: &'static str,
    /// Of `status`, asked by the honest guest.
    pub(crate) answers: Samples,
    /// Questions that were never answered.
    pub(crate) unanswered: usize,
    /// Of one core, during the attack.
    pub(crate) load: f64,
    /// Of one core, afterwards, while nobody asks.
    pub(crate) idle: f64,
    /// Whether SIGTERM ends the daemon within two seconds.
    pub(crate) ends: bool,
}

/// What a process holds with so many channels.
pub(crate) struct Holding {
    pub(crate) channels: usize,
    /// So many of them are connected.
    pub(crate) connected: usize,
    pub(crate) who: &'static str,
    /// Or why there are no figures.
    pub(crate) held: std::result::Result<Held, String>,
    /// Of one core, while nobody asks.
    pub(crate) idle: Option<f64>,
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    facts: Vec<(&'static str, String)>,
    pub(crate) chapters: Vec<Chapter>,
    pub(crate) attacks: Vec<Attack>,
    pub(crate) holdings: Vec<Holding>,
    judged: Vec<Judged>,
    failures: Vec<(&'static str, String)>,
}

impl Report {
    pub(crate) fn of(facts: Vec<(&'static str, String)>) -> Self {
        Self { facts, ..Self::default() }
    }

    /// Begins a chapter; rows go into the last one.
    pub(crate) fn chapter(&mut self, title: &'static str, text: &'static str) {
        self.chapters.push(Chapter { title, text, rows: Vec::new() });
    }

    /// Also says so at once: the whole takes minutes.
    pub(crate) fn add(&mut self, row: Row) {
        tell(&format!("         {row}"));
        self.judged.extend(row.judged());
        if let Some(chapter) = self.chapters.last_mut() {
            chapter.rows.push(row);
        }
    }

    /// A goal that is no row's.
    pub(crate) fn judge(&mut self, judged: Judged) {
        self.judged.push(judged);
    }

    pub(crate) fn attack(&mut self, attack: Attack) {
        tell(&format!(
            "         {}, {}: p50 {:?}, p99 {:?}, {} unanswered, {:.0} % of a core, then {:.0} %",
            attack.kind,
            attack.daemon,
            attack.answers.p50(),
            attack.answers.p99(),
            attack.unanswered,
            attack.load * 100.0,
            attack.idle * 100.0,
        ));
        self.attacks.push(attack);
    }

    pub(crate) fn holds(&mut self, holding: Holding) {
        tell(&format!("         {} channels, {}: {:?}", holding.channels, holding.who, holding.held));
        self.holdings.push(holding);
    }

    pub(crate) fn failed(&mut self, section: &'static str, reason: &str) {
        self.failures.push((section, reason.to_owned()));
    }

    pub(crate) fn lasted(&mut self, all: Duration) {
        self.facts.push(("duration", format!("{} min {} s", all.as_secs() / 60, all.as_secs() % 60)));
    }

    /// Writes it to `performance.md` there, and the plots below it.
    pub(crate) fn keep(&self, place: &Path) -> Result<()> {
        fs::create_dir_all(place.join("performance"))?;
        plots::draw(self, &place.join("performance"))?;
        Ok(fs::write(place.join("performance.md"), self.to_string())?)
    }

    /// An error that names what failed.
    pub(crate) fn verdict(&self) -> Result<()> {
        match self.failures.as_slice() {
            [] => Ok(()),
            failures => {
                let names: Vec<&str> = failures.iter().map(|(section, _)| *section).collect();
                Err(unexpected(format!("sections without figures: {}", names.join(", "))))
            }
        }
    }
}
