//! The parts of a run. Each has a lab of its own, so that one which fails leaves the others alone.
//!
//! In:  `FENCE_BENCH`: nothing for all of them, names with commas between them for some; `quick` among them, or alone, for
//!      as few rounds as there can be, so that the bench does not rot.
//! Out: the report. Only a full run writes it among the documents.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::error::{Result, unexpected};
use crate::report::Report;
use crate::{attacks, crowd, inside, looks, machine, outage, power, scale};

const QUICK: &str = "quick";

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Few rounds, few domains.
    pub(crate) is_quick: bool,
}

impl Size {
    /// So long in a full run, a tenth of it in a quick one.
    pub(crate) fn span(self, full: Duration) -> Duration {
        if self.is_quick { full / 10 } else { full }
    }

    /// So many in a full run, so many in a quick one.
    pub(crate) const fn of(self, full: usize, quick: usize) -> usize {
        if self.is_quick { quick } else { full }
    }
}

struct Section {
    name: &'static str,
    run: fn(Size, &mut Report) -> Result<()>,
}

const SECTIONS: [Section; 9] = [
    Section { name: "few", run: looks::with_few },
    Section { name: "looks", run: looks::with_many },
    Section { name: "power", run: power::measure },
    Section { name: "crowd", run: crowd::measure },
    Section { name: "inside", run: inside::measure },
    Section { name: "attacks", run: attacks::measure },
    Section { name: "outage", run: outage::measure },
    Section { name: "scale", run: scale::measure },
    Section { name: "others", run: scale::the_incumbent },
];

/// Runs what was chosen, whatever happens to some of it. An error at the end says what failed.
pub(crate) fn run(chosen: Option<&str>) -> Result<()> {
    let (is_quick, names) = read(chosen.unwrap_or_default());
    let size = Size { is_quick };
    let sections = select(&names)?;
    let is_full = !is_quick && names.is_empty();
    let mut report = Report::of(machine::facts()?);
    let begun = Instant::now();
    for section in &sections {
        tell(&format!("[{:4} s] {}", begun.elapsed().as_secs(), section.name));
        if let Err(error) = (section.run)(size, &mut report) {
            tell(&format!("{} FAILED: {error}", section.name));
            report.failed(section.name, &error.to_string());
        }
    }
    report.lasted(begun.elapsed());
    writeln!(std::io::stdout(), "{report}")?;
    let place = machine::place(is_full)?;
    report.keep(&place)?;
    tell(&format!("written to {}", place.display()));
    report.verdict()
}

/// Whether it is to be quick, and the sections that are named.
fn read(chosen: &str) -> (bool, Vec<&str>) {
    let words = || chosen.split(',').map(str::trim).filter(|word| !word.is_empty());
    (words().any(|word| word == QUICK), words().filter(|word| *word != QUICK).collect())
}

fn select(names: &[&str]) -> Result<Vec<&'static Section>> {
    if names.is_empty() {
        return Ok(SECTIONS.iter().collect());
    }
    let find = |name: &&str| {
        let known = SECTIONS.map(|section| section.name).join(", ");
        let found = SECTIONS.iter().find(|section| section.name == *name);
        found.ok_or_else(|| {
            unexpected(format!("FENCE_BENCH: there is no section {name}; use quick, or some of {known}"))
        })
    };
    names.iter().map(find).collect()
}

/// Progress, for whoever waits.
pub(crate) fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_chosen_by_name_and_all_of_them_by_none() {
        let (is_quick, names) = read("scale, few,quick");
        let some = select(&names).unwrap();

        assert!(is_quick);
        assert_eq!(some.iter().map(|section| section.name).collect::<Vec<_>>(), ["scale", "few"]);
        assert_eq!(select(&read("").1).unwrap().len(), SECTIONS.len());
        assert!(select(&["everything"]).is_err_and(|error| error.to_string().contains("looks, power")));
    }
}
