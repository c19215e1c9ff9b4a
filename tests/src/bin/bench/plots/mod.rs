//! The report's plots.
//!
//! In:  a [`Report`]. Out: SVG files, to be read on white.

mod bars;
mod lines;

use std::path::Path;

use plotters::style::RGBColor;

use crate::error::Result;
use crate::report::{Attack, Report, Row, Side};
use crate::samples::Samples;
use bars::{Bar, Bars, Group};
use lines::{Line, Lines};

const AGENT: (&str, RGBColor) = ("fence-vmchanneld", RGBColor(0, 114, 178));
const INCUMBENT: (&str, RGBColor) = ("fence_virtd", RGBColor(213, 94, 0));
const DIRECT: (&str, RGBColor) = ("direct libvirt call", RGBColor(140, 140, 140));

/// Draws what there are figures for.
pub(crate) fn draw(report: &Report, place: &Path) -> Result<()> {
    let rows = report.chapters.iter().flat_map(|chapter| &chapter.rows);
    let groups: Vec<Group> = rows.filter_map(operation).collect();
    if !groups.is_empty() {
        let title = "How long it takes: median, and p99 above it";
        Bars { title, series: &[AGENT, INCUMBENT, DIRECT], groups }.draw(&place.join("operations.svg"))?;
    }
    let groups = attacks(&report.attacks);
    if !groups.is_empty() {
        let title =
            "How long an honest guest waits for its status while others attack: median, and p99 above it";
        Bars { title, series: &[AGENT, INCUMBENT], groups }.draw(&place.join("attacks.svg"))?;
    }
    let lines = memory(report);
    if lines.iter().any(|line| line.points.len() > 1) {
        Lines { title: "Memory over channels", lines }.draw(&place.join("memory.svg"))?;
    }
    Ok(())
}

fn operation(row: &Row) -> Option<Group> {
    let bars = [&row.ours, &row.incumbent, &row.direct].map(|side| match side {
        Side::Absent => Bar::Absent,
        Side::Took(samples) => took(samples),
        Side::Never(_) => Bar::Never,
    });
    Some(Group { name: row.plotted.clone()?, bars: bars.into() })
}

fn attacks(attacks: &[Attack]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for attack in attacks {
        let bar = if attack.unanswered > 0 { Bar::Never } else { took(&attack.answers) };
        match groups.iter_mut().find(|group| group.name == attack.kind) {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group { name: attack.kind.to_owned(), bars: vec![bar] }),
        }
    }
    groups
}

fn took(samples: &Samples) -> Bar {
    let [p50, p99] = [samples.p50(), samples.p99()].map(|time| time.as_secs_f64() * 1000.0);
    Bar::Took { p50, p99 }
}

fn memory(report: &Report) -> Vec<Line> {
    let of = |who: &str, is_anonymous: bool| -> Vec<(f64, f64)> {
        let holdings = report.holdings.iter().filter(|holding| holding.who == who);
        let held = holdings.filter_map(|holding| Some((holding.channels, holding.held.as_ref().ok()?)));
        held.map(|(channels, held)| {
            let kib = if is_anonymous { held.anonymous } else { held.resident };
            (as_float(channels), as_float(kib) / 1024.0)
        })
        .collect()
    };
    let line = |name: &str, color, is_anonymous, who: &str| Line {
        name: name.to_owned(),
        color,
        is_dashed: is_anonymous,
        points: of(who, is_anonymous),
    };
    let bare = "only a connection to libvirt";
    vec![
        line("fence-vmchanneld, RSS", AGENT.1, false, "agent"),
        line("fence-vmchanneld, its own (anonymous)", AGENT.1, true, "agent"),
        line("fence_virtd, RSS (no service past 1024 descriptors)", INCUMBENT.1, false, "fence_virtd"),
        line("fence_virtd, its own (anonymous)", INCUMBENT.1, true, "fence_virtd"),
        line("only a connection to libvirt, RSS", DIRECT.1, false, bare),
    ]
}

fn as_float(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::memory::Held;
    use crate::report::Holding;

    fn samples(ms: [u64; 2]) -> Samples {
        ms.map(Duration::from_millis).into_iter().collect()
    }

    #[test]
    fn a_report_becomes_three_plots_with_every_name_in_them() {
        let mut report = Report::of(Vec::new());
        report.chapter("Power", "");
        report.add(Row::new("off of a guest", samples([5, 9])).incumbent(samples([212, 230])).plotted("off"));
        for (daemon, unanswered) in [("agent", 0), ("fence_virtd", 1)] {
            let answers = samples([1, 2]);
            let attack =
                Attack { kind: "drip", daemon, answers, unanswered, load: 0.1, idle: 0.0, ends: true };
            report.attack(attack);
        }
        for channels in [100, 1000] {
            let held = Held {
                resident: 20_000 + channels,
                anonymous: channels,
                descriptors: 1,
                threads: 1,
                ran: Duration::ZERO,
            };
            report.holds(Holding { channels, connected: channels, who: "agent", held: Ok(held), idle: None });
        }
        let place = std::env::temp_dir().join(format!("bench-plots-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();

        draw(&report, &place).unwrap();

        let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
        let [operations, attacks, memory] = ["operations.svg", "attacks.svg", "memory.svg"].map(read);
        fs::remove_dir_all(place).unwrap();
        assert!(operations.contains("off") && operations.contains("5 ms") && operations.contains("212 ms"));
        assert!(attacks.contains("drip") && attacks.contains("no answer"));
        assert!(memory.contains("fence-vmchanneld, RSS") && memory.contains("MiB"));
    }
}
