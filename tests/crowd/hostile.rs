//! All channels but one are hostile, and the honest guests hardly notice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::Result;
use fence_vmchannel_tests::attack::Attack;

use crate::alone;
use crate::crowd::{Crowd, lab};
use crate::figures::{beside_an_echo, memory, percentile, processor_share, setting};

/// Promised is 5 ms on a machine that does nothing else.
const STATUS: Duration = Duration::from_millis(100);
/// Promised are 50 ms.
const OFF_DELAY: Duration = Duration::from_millis(500);
/// What a guest's connection can hold of the agent's memory at most, and what it really takes.
const MEMORY_PER_GUEST: usize = 160;
const LINES_PER_MINUTE: u64 = 6;

/// One row of the table.
struct Row {
    status: Vec<Duration>,
    off: Vec<Duration>,
    /// What the machine itself made of questions and answers.
    echo: Vec<Duration>,
    share: f64,
    resident: usize,
}

impl Row {
    fn of(crowd: &mut Crowd<'_>, time: Duration, offs: usize) -> Self {
        let pid = crowd.agent.pid();
        let ((status, share), echo) = beside_an_echo(|| processor_share(pid, || crowd.ask(time)));
        let off = crowd.fence(offs);
        Self { status, off, echo, share, resident: memory(pid).0 }
    }

    fn print(&self, name: &str) {
        let ms = |times: &[Duration], percent| percentile(times, percent).as_secs_f64() * 1000.0;
        println!(
            "{name:<10} status p50 {:6.2} p99 {:7.2} of {:4} (an echo: {:7.2}); off p50 {:6.1} of {}; {:5.1} % of a core, {:6} KiB",
            ms(&self.status, 50),
            ms(&self.status, 99),
            self.status.len(),
            ms(&self.echo, 99),
            ms(&self.off, 50),
            self.off.len(),
            self.share * 100.0,
            self.resident,
        );
    }
}

#[test]
fn whatever_all_other_guests_do_an_honest_one_is_answered_and_its_target_stopped() -> Result<()> {
    let _alone = alone();
    let lab = lab()?;
    let channels = setting("FENCE_CROWD", 60);
    let time = Duration::from_secs(setting("FENCE_CROWD_SECONDS", 2) as u64);
    let offs = setting("FENCE_CROWD_OFFS", 1);
    let begun = Instant::now();
    let mut crowd = Crowd::of(&lab, channels)?;
    println!("{channels} channels; times in ms; connected after {:.1?}", begun.elapsed());

    let quiet = Row::of(&mut crowd, time * 2, offs + 2);
    quiet.print("quiet");
    let mut rows = Vec::new();
    let chosen = std::env::var("FENCE_CROWD_ATTACKS").unwrap_or_default();
    let is_chosen = |attack: &Attack| chosen.is_empty() || chosen.contains(&attack.to_string());
    for attack in Attack::ALL.into_iter().filter(is_chosen) {
        crowd.attack(&[attack]);
        let row = Row::of(&mut crowd, time, offs);
        row.print(&attack.to_string());
        rows.push(row);
    }
    crowd.attack(&Attack::ALL);
    let mix = Row::of(&mut crowd, time * 3, offs + 2);
    mix.print("all");
    rows.push(mix);
    let (lines, minutes) = (most_lines_of_one(&crowd), begun.elapsed().as_secs() / 60 + 1);
    println!("at most {lines} log lines of one guest in {minutes} minutes");
    let stopping = Instant::now();
    crowd.agent.stop()?;
    println!("stopped after {:.0?}", stopping.elapsed());

    assert!(stopping.elapsed() < Duration::from_secs(4), "{:?}", stopping.elapsed());
    assert!(lines <= LINES_PER_MINUTE * minutes, "{lines} in {minutes} minutes");
    for row in rows {
        let echo = percentile(&row.echo, 99);
        assert!(percentile(&row.status, 99) < STATUS + echo * 4);
        assert!(percentile(&row.off, 50) < percentile(&quiet.off, 50) + OFF_DELAY + echo * 4);
        assert!(row.resident < quiet.resident + channels * MEMORY_PER_GUEST, "{} KiB", row.resident);
        // Promised is one; of many orders at once the looks at all processes come on top.
        assert!(row.share <= 1.5, "{}", row.share);
    }
    Ok(())
}

/// The log lines that name a hostile guest, of the one that caused most.
fn most_lines_of_one(crowd: &Crowd<'_>) -> u64 {
    let mut lines: HashMap<&str, u64> = HashMap::new();
    let log = crowd.agent.log();
    for line in &log {
        let words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
        if let Some(name) = words.into_iter().find(|word| word.starts_with("wild")) {
            *lines.entry(name).or_default() += 1;
        }
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
    lines.into_values().max().unwrap_or_default()
}
