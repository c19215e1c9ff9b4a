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
        line("fence_virtd, RSS (aborts past 1024 descriptors)", INCUMBENT.1, false, "fence_virtd"),
        line("fence_virtd, its own (anonymous)", INCUMBENT.1, true, "fence_virtd"),
        line("only a connection to libvirt, RSS", DIRECT.1, false, bare),
    ]
}

fn as_float(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
