//! The table as people read it.
//!
//! In:  every scene. Out: its answers, and the text of `expected.txt`.
//!
//! Invariant: lines that differ in nothing but libvirt's word are one line; no scene is left out of the text.

use std::fmt::Write;
use std::sync::OnceLock;

use fence_vmchannel_host_agent::domain::Standing;
use fence_vmchannel_protocol::{PowerState, Ruling};

use crate::scene::{KINDS, Kind, LEFT_OUT, PROCESSES, Process, STANDINGS, Scene, Word, changed, steady};
use crate::stage::{Answer, OPS, Op, ask};

const LEGEND: &str = include_str!("legend.txt");

/// A scene, and the answer to each of [`OPS`] in it.
pub(crate) struct Line {
    pub(crate) scene: Scene,
    pub(crate) answers: Vec<(Op, Answer)>,
}

/// Every scene with its answers; asked once for all tests.
pub(crate) fn lines() -> &'static [Line] {
    static LINES: OnceLock<Vec<Line>> = OnceLock::new();
    LINES.get_or_init(|| {
        let scenes: Vec<Scene> = steady().into_iter().chain(changed()).collect();
        let answered =
            |scene: &Scene| Line { scene: *scene, answers: OPS.map(|op| (op, ask(*scene, op))).into() };
        let halves = scenes.chunks(scenes.len().div_ceil(2));
        std::thread::scope(|scope| {
            let asking: Vec<_> = halves
                .map(|half| scope.spawn(move || half.iter().map(answered).collect::<Vec<_>>()))
                .collect();
            asking.into_iter().flat_map(|half| half.join().unwrap()).collect()
        })
    })
}

/// The whole table.
pub(crate) fn text() -> String {
    let mut text = LEGEND.to_owned();
    text.push_str("\nLeft out:\n");
    for (what, why) in LEFT_OUT {
        writeln!(text, "  {what}: {why}").unwrap();
    }
    let steady = steady();
    let (lines, others): (Vec<&Line>, Vec<&Line>) =
        lines().iter().partition(|line| steady.contains(&line.scene));
    for kind in KINDS {
        let of_kind: Vec<_> = lines.iter().copied().filter(|line| line.scene.kind == kind).collect();
        section(&mut text, title(kind), &of_kind);
    }
    for seen in STANDINGS {
        let of_seen: Vec<_> = others.iter().copied().filter(|line| line.scene.seen == seen).collect();
        let title =
            format!("persistent; {} when it was looked at last, and now something else", standing(seen));
        section(&mut text, &title, &of_seen);
    }
    text
}

fn section(text: &mut String, title: &str, lines: &[&Line]) {
    let mut rows =
        vec![["process", "libvirt says", "status", "list", "off", "on", "reboot"].map(String::from)];
    for process in PROCESSES {
        let first = rows.len();
        for line in lines.iter().filter(|line| line.scene.process == process) {
            let cells: Vec<String> = line.answers.iter().map(|(_, answer)| cell(answer)).collect();
            let says = word(line.scene.word);
            match rows[first..].iter_mut().find(|row: &&mut [String; 7]| row[2..] == cells[..]) {
                Some(row) => write!(row[1], ", {says}").unwrap(),
                None => {
                    let mut row = [const { String::new() }; 7];
                    row[0] = name(process).to_owned();
                    row[1] = says.to_owned();
                    row[2..].clone_from_slice(&cells);
                    rows.push(row);
                }
            }
        }
    }
    writeln!(text, "\n== {title}\n").unwrap();
    let widths: Vec<usize> =
        (0..7).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap()).collect();
    for row in &rows {
        let padded: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(text, "{}", padded.join("  ").trim_end()).unwrap();
    }
}

/// An answer as the legend says.
pub(crate) fn cell(answer: &Answer) -> String {
    let mut words = Vec::new();
    match answer.ruling {
        Ruling::Done => words.push(answer.state.map_or("done", PowerState::word).to_owned()),
        Ruling::Failed(reason) => words.push(format!("FAILED {reason}")),
        Ruling::Refused(reason) => words.push(format!("REFUSED {reason}")),
    }
    words.extend(answer.evidence.map(|evidence| evidence.to_string()));
    let seconds = (answer.took.as_millis() + 500) / 1000;
    if seconds > 0 {
        words.push(format!("{seconds}s"));
    }
    if !answer.actions.is_empty() {
        words.push(format!("[{}]", counted(&answer.actions)));
    }
    words.join(" ")
}

/// The actions in their order; one that is repeated is counted.
fn counted(actions: &[String]) -> String {
    let runs = actions.chunk_by(|one, next| one == next);
    let words =
        runs.map(|run| if run.len() == 1 { run[0].clone() } else { format!("{} x{}", run[0], run.len()) });
    words.collect::<Vec<_>>().join(" ")
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Persistent => "persistent",
        Kind::Transient => "transient",
        Kind::Leaving => "migrating to another host; an abort ends that, and it stays",
        Kind::LeavingTooLate => "migrating to another host; an abort comes too late, and it moves",
        Kind::LeavingUnabortable => "migrating to another host; an abort is refused",
        Kind::Arriving => "migrating here from another host",
    }
}

pub(crate) fn name(process: Process) -> &'static str {
    match process {
        Process::None => "never had one",
        Process::Gone => "gone",
        Process::Alive => "alive",
        Process::Stubborn => "stubborn",
        Process::Stuck => "stuck",
        Process::Another => "another",
        Process::Restarts => "restarts",
        Process::Arguments => "arguments",
        Process::GoneArguments => "gone, arguments",
        Process::AliveNoFile => "alive, file unsure",
        Process::UnsureFile => "file unsure",
        Process::UnsureScan => "look unsure",
    }
}

fn word(word: Word) -> &'static str {
    match word {
        Word::Says(said) => standing(said),
        Word::NoDomain => "no-domain",
        Word::Unreachable => "UNREACHABLE",
        Word::Hangs => "HANGS",
        Word::Fails => "FAILS",
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Leaving => "leaving",
        Standing::Crashed => "crashed",
        Standing::ShutOff => "shut-off",
        Standing::Moved => "moved",
        Standing::Unclear => "unclear",
    }
}
