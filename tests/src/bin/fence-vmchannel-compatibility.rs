//! `make compatibility`: tries every combination of clients and servers, and writes `docs/compatibility.md`.
//!
//! In:  the page's path; then, optionally, words that a row must contain to be tried. Out: the page, or the rows.

use std::fs;

use fence_vmchannel_tests::Result;
use fence_vmchannel_tests::compat::{Combination, Row, page, run};
use fence_vmchannel_tests::fence_virt::Packages;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let path = words.next().unwrap_or_else(|| "docs/compatibility.md".into());
    let wanted: Vec<String> = words.collect();
    try_all(&path, &wanted)
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn try_all(path: &str, wanted: &[String]) -> Result<()> {
    let mut combinations = Combination::all();
    combinations.retain(|one| {
        let words = [one.way.word(), one.server.word(), one.client.word(), one.hash_word()].join(" ");
        wanted.iter().all(|wanted| words.contains(wanted.as_str()))
    });
    let told = |row: &Row| {
        println!("{:?} {}", row.combination, row.cells.join(" | "));
    };
    let rows = run(&combinations, told)?;
    if wanted.is_empty() {
        let page = page(&rows, &Packages::get()?.version());
        fs::write(path, page).map_err(|source| fence_vmchannel_tests::LabError::System {
            doing: format!("write {path}"),
            source,
        })?;
    }
    Ok(())
}
