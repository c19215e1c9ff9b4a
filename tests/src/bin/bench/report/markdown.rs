//! The report as people read it.
//!
//! In:  a [`Report`]. Out: Markdown that is a table in a terminal too.

use std::fmt::{self, Display};

use super::{Attack, Chapter, Holding, Report, Row};
use crate::samples::milliseconds;

const HOW: &str = "\
<!-- Written by `make bench`: change the bench, not this file. -->
# Performance

The agent, Debian's fence_virtd and direct libvirt calls take turns in one run, on one libvirtd, with the same domains: read
the ratios, since the figures are those of one machine at one time. libvirtd and QEMU are real; the guests are small QEMU
processes without an operating system, except where a program inside a guest is measured. libvirtd's children are reaped at
once, else a destroy takes as long as PID 1 likes.

The agent and fence_virtd are asked over the same kind of socket, the host's end of a guest's channel, each in its own
language; fence_virtd runs its serial listener in vmchannel mode. Direct calls are made in C, by one process that is connected
already. The agent hears each channel 20 times a second, so its questions go round several channels with a pause of 55 ms
on each: no figure holds a wait for that limit. p99 is the longest where there are less than a hundred rounds. Times are in
milliseconds.
";

const GOALS: &str = "\
The goals were set beforehand, from what fence_virtd 4.12.1 was measured to do. Medians, in milliseconds where no unit is said.
";

const ATTACKS: &str = "\
One guest misbehaves, another one asks for a `status` each 55 ms: from its first byte to the last of the answer. `drip`: five
bytes each second that never become a request. `close`: the channel is closed. `flood`: valid requests as fast as they are
taken, with the replies read. `noise`: bytes that are no request, as fast as they are taken. `deaf`: valid requests, with no reply
read. `499 of 500`: all of these at once, in clusters of 16. Guests have processors of
their own: here the attackers' processes have what others leave (SCHED_IDLE), and the daemons, libvirtd and who measures go
before them (nice -20). What no answer came to within 5 s counts as unanswered, and ends the round.
CPU is the daemon's part of a core, idle the same afterwards, while nobody asks.

![How long an honest guest waits](performance/attacks.svg)
";

const HOLDINGS: &str = "\
In KiB. RSS counts every page of libvirt's libraries and of those that they need, shared with other programs or not; anonymous is
what belongs to the process alone. A process that does nothing but hold a connection to libvirt and has listed the domains is shown
beside: below that nobody who uses libvirt can be. The agent's domains are those of a real libvirtd: a listening socket for each, and
a connection and a pidfd for each that is connected, which are as many as the machine's limit of descriptors allows.
fence_virtd's domains are those of libvirt's test driver in libvirtd, since its channels exist only while a domain runs; all
of them are connected. CPU is all that the process took since its start, idle its part of a core while nobody asks.

![Memory over channels](performance/memory.svg)
";

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HOW}")?;
        self.facts.iter().try_for_each(|(name, value)| writeln!(f, "- {name}: {value}"))?;
        for (section, reason) in &self.failures {
            writeln!(f, "- **not measured**: the section `{section}` failed: {reason}")?;
        }
        self.goals(f)?;
        writeln!(f, "\n![Medians side by side](performance/operations.svg)")?;
        self.chapters.iter().try_for_each(|chapter| chapter.print(f))?;
        if !self.attacks.is_empty() {
            writeln!(f, "\n## Beside a hostile guest\n\n{ATTACKS}")?;
            attacks(f, &self.attacks)?;
        }
        if !self.holdings.is_empty() {
            writeln!(f, "\n## What processes hold\n\n{HOLDINGS}")?;
            holdings(f, &self.holdings)?;
        }
        Ok(())
    }
}

impl Report {
    fn goals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = self.judged.iter().filter(|judged| judged.is_met).count();
        writeln!(f, "\n## Goals: {met} of {} met\n\n{GOALS}", self.judged.len())?;
        let head = ["what", "fence_virtd", "agent", "goal", "met", "why not"];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.judged.iter().map(|judged| {
            let otherwise = if judged.is_met { String::new() } else { judged.otherwise.clone() };
            let (what, incumbent) = (judged.what.clone(), judged.incumbent.clone());
            [what, incumbent, judged.ours.clone(), judged.goal.clone(), yes(judged.is_met), otherwise]
        }));
        table(f, &lines)
    }
}

impl Chapter {
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## {}\n", self.title)?;
        if !self.text.is_empty() {
            writeln!(f, "{}\n", self.text)?;
        }
        let head = [
            "what",
            "agent: n",
            "p50",
            "p99",
            "fence_virtd: n",
            "p50",
            "p99",
            "directly",
            "n",
            "p50",
            "p99",
            "agent / fence_virtd",
            "agent / direct",
        ];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.rows.iter().map(cells));
        table(f, &lines)
    }
}

fn cells(row: &Row) -> [String; 13] {
    let [[our_n, our_p50, our_p99], [their_n, their_p50, their_p99], [n, p50, p99]] =
        [&row.ours, &row.incumbent, &row.direct].map(super::Side::cells);
    let ratios = [&row.incumbent, &row.direct].map(|side| row.ratio(side));
    let [beside_incumbent, beside_direct] = ratios;
    let directly = row.directly.to_owned();
    [
        row.what.clone(),
        our_n,
        our_p50,
        our_p99,
        their_n,
        their_p50,
        their_p99,
        directly,
        n,
        p50,
        p99,
        beside_incumbent,
        beside_direct,
    ]
}

fn attacks(f: &mut fmt::Formatter<'_>, attacks: &[Attack]) -> fmt::Result {
    let head = ["attack", "daemon", "answers", "p50", "p99", "unanswered", "CPU", "idle", "ends at SIGTERM"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(attacks.iter().map(|attack| {
        let times = match attack.answers.count() {
            0 => ["never", "never"].map(str::to_owned),
            _ => [attack.answers.p50(), attack.answers.p99()].map(milliseconds),
        };
        let [p50, p99] = times;
        let [kind, daemon] = [attack.kind, attack.daemon].map(str::to_owned);
        let [answers, unanswered] = [attack.answers.count(), attack.unanswered].map(|n| n.to_string());
        [
            kind,
            daemon,
            answers,
            p50,
            p99,
            unanswered,
            percent(attack.load),
            percent(attack.idle),
            yes(attack.ends),
        ]
    }));
    table(f, &lines)
}

fn holdings(f: &mut fmt::Formatter<'_>, holdings: &[Holding]) -> fmt::Result {
    let head =
        ["channels", "connected", "who", "RSS", "anonymous", "descriptors", "threads", "CPU, ms", "idle"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(holdings.iter().map(|holding| {
        let figures = match &holding.held {
            Ok(held) => {
                let [resident, anonymous, descriptors, threads] =
                    [held.resident, held.anonymous, held.descriptors, held.threads]
                        .map(|figure| figure.to_string());
                [resident, anonymous, descriptors, threads, held.ran.as_millis().to_string()]
            }
            Err(why) => [why.clone(), String::new(), String::new(), String::new(), String::new()],
        };
        let [resident, anonymous, descriptors, threads, ran] = figures;
        let idle = holding.idle.map(percent).unwrap_or_default();
        [
            holding.channels.to_string(),
            holding.connected.to_string(),
            holding.who.to_owned(),
            resident,
            anonymous,
            descriptors,
            threads,
            ran,
            idle,
        ]
    }));
    table(f, &lines)
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "**no**" }.to_owned()
}

/// A Markdown table that is a table in a terminal too; the first line is its head.
fn table<const COLUMNS: usize>(f: &mut fmt::Formatter<'_>, lines: &[[String; COLUMNS]]) -> fmt::Result {
    let mut widths = [3; COLUMNS];
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
