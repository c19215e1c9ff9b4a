//! `convert-config` on configurations as they are found on real hosts.
//!
//! Who could fence whom before is told by a model of fence_virtd's rules (`incumbent.rs`), who may afterwards by the real
//! policy and by the `explain` of a running agent. `permissions.txt` lists both; `UPDATE=1` writes it anew.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod agent;
mod effect;
mod incumbent;
mod report;
mod sample;
mod world;

use std::fmt::Write;

use effect::After;
use sample::{directory, samples};
use world::{WORLD, machines};

#[test]
fn what_may_be_done_before_and_after_is_listed_for_every_sample() {
    let mut table = String::from(LEGEND);
    for sample in samples() {
        let after = After::of(&sample.convert(&Ok(machines())));
        let before = sample.before();
        writeln!(table, "\n{} {}", sample.name, sample.choices).unwrap();
        writeln!(table, "{:8}{}", "", WORLD.map(|target| format!("{:8}", target.name)).concat().trim_end())
            .unwrap();
        for asker in &WORLD {
            let cell = |allowed: bool, c: char| if allowed { c } else { '-' };
            let cells = WORLD.each_ref().map(|target| {
                let by_name = cell(before.allows(asker, target.name), 'n');
                let by_uuid = cell(before.allows(asker, target.uuid), 'u');
                let over_channel = cell(after.allows(asker, target), 'A');
                let over_network = cell(after.allows_over_the_network(asker, target), 'N');
                format!("{by_name}{by_uuid} {over_channel}{over_network}   ")
            });
            writeln!(table, "{:8}{}", asker.name, cells.concat().trim_end()).unwrap();
        }
    }

    let golden = directory().join("permissions.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(&golden).unwrap(), "UPDATE=1 writes it anew");
}

const LEGEND: &str = "\
Who may fence whom. Rows ask, columns are fenced.
  n  fence_virtd allowed it when the target was called by its name
  u  fence_virtd allowed it when the target was called by its UUID
  A  allowed after the conversion, over the asker's channel and however the target is called
  N  allowed after the conversion, over the network from the asker's address
";

#[test]
fn nothing_is_allowed_that_was_not_unless_it_was_chosen_in_words() {
    for sample in samples().iter().filter(|sample| !sample.may_be_wider()) {
        for known in [Ok(machines()), Err("away".to_owned())] {
            let after = After::of(&sample.convert(&known));
            let before = sample.before();
            for (asker, target) in
                WORLD.iter().flat_map(|asker| WORLD.iter().map(move |target| (asker, target)))
            {
                // Its own label lets a machine act on itself, which it can do from inside as well.
                if asker.name == target.name {
                    continue;
                }
                let was = before.allows(asker, target.name) || before.allows(asker, target.uuid);
                let is = after.allows(asker, target) || after.allows_over_the_network(asker, target);
                assert!(was || !is, "{} {}: {} -> {}", sample.name, sample.choices, asker.name, target.name);
            }
        }
    }
}

#[test]
fn what_the_groups_of_a_serial_listener_allowed_is_allowed_still() {
    for sample in samples().iter().filter(|s| s.text.contains("\"serial\"") && s.choices.is_empty()) {
        let (before, after) = (sample.before(), After::of(&sample.convert(&Ok(machines()))));
        for (asker, target) in WORLD.iter().flat_map(|asker| WORLD.iter().map(move |target| (asker, target)))
        {
            let was = before.allows(asker, target.name) || before.allows(asker, target.uuid);
            assert_eq!(
                was,
                after.allows(asker, target),
                "{}: {} -> {}",
                sample.name,
                asker.name,
                target.name
            );
        }
    }
}

#[test]
fn a_kept_network_listener_allows_each_address_what_it_was_allowed_and_no_more() {
    let kept = samples().into_iter().filter(|s| s.choices.ends_with("--addresses-as keep"));
    let mut seen = 0;
    for sample in kept {
        let (before, after) = (sample.before(), After::of(&sample.convert(&Ok(machines()))));
        for (asker, target) in WORLD.iter().flat_map(|asker| WORLD.iter().map(move |target| (asker, target)))
        {
            let was = before.allows(asker, target.name) || before.allows(asker, target.uuid);
            let is = after.allows_over_the_network(asker, target);
            assert_eq!(was, is, "{}: {} -> {}", sample.name, asker.name, target.name);
            seen += usize::from(is);
        }
    }
    assert!(seen > 0);
}
