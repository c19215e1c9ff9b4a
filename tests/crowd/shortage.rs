//! What guests leave behind, and what they cannot get: descriptors.

use std::collections::HashSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::attack::Attack;
use fence_vmchannel_tests::{Result, programs};

use crate::alone;
use crate::crowd::{Crowd, lab};
use crate::figures::{memory, processor_share};

const CROWD: usize = 40;
const PLENTY: usize = 1000;
const WHILE: Duration = Duration::from_secs(3);

/// The agent's soft limit of open files from now on.
fn limit(agent: u32, files: usize) -> Result<()> {
    let mut limit = Command::new("prlimit");
    programs::succeed(limit.arg(format!("--pid={agent}")).arg(format!("--nofile={files}:"))).map(drop)
}

/// The limit at which the agent can open only `more` files: descriptors are numbers, and those of closed ones are free.
fn room_for(agent: u32, more: usize) -> usize {
    let open = fs::read_dir(format!("/proc/{agent}/fd")).unwrap();
    let open: HashSet<usize> =
        open.map(|entry| entry.unwrap().file_name().into_string().unwrap().parse().unwrap()).collect();
    (0..).filter(|number| !open.contains(number)).nth(more).unwrap()
}

#[test]
fn a_channel_that_was_closed_costs_nothing() -> Result<()> {
    let _alone = alone();
    let lab = lab()?;
    let mut crowd = Crowd::of(&lab, CROWD)?;
    let before = crowd.agent.holdings()?;

    crowd.attack(&[Attack::Gone]);
    crowd.ask(Duration::from_millis(500)); // until all have been seen to go
    let ((), share) = processor_share(crowd.agent.pid(), || std::thread::sleep(WHILE));

    println!("{CROWD} closed channels: {:.2} % of a core", share * 100.0);
    assert!(share < 0.05, "{share}");
    let after = crowd.agent.holdings()?;
    assert!(after.descriptors + CROWD - 2 <= before.descriptors, "{before:?}, {after:?}");
    Ok(())
}

#[test]
fn a_lack_of_descriptors_heals_by_itself_and_hurts_nobody_who_is_connected() -> Result<()> {
    let _alone = alone();
    let lab = lab()?;
    let mut crowd = Crowd::of(&lab, CROWD)?;
    let agent = crowd.agent.pid();
    crowd.attack(&[Attack::Gone]);
    crowd.ask(Duration::from_millis(500));

    limit(agent, room_for(agent, 3))?;
    let told = crowd.agent.log().len();
    crowd.attack(&[Attack::Storm, Attack::Rest]);
    let (asked, share) = processor_share(agent, || crowd.ask(WHILE));
    let lines: Vec<String> = crowd.agent.log().split_off(told);
    limit(agent, PLENTY)?;
    crowd.attack(&[Attack::Rest]);

    let begun = Instant::now();
    crowd.wait_until_all_are_served();
    println!("all are served {:.1?} after there are descriptors again", begun.elapsed());
    println!(
        "without descriptors: {} answers, {:.1} % of a core, {} KiB, {} log lines",
        asked.len(),
        share * 100.0,
        memory(agent).0,
        lines.len()
    );
    let lacks = lines.iter().filter(|line| line.contains("could not be taken")).count();
    assert!((1..=6).contains(&lacks), "{lacks}: {lines:#?}");
    assert!(share < 0.5, "{share}");
    assert!(!asked.is_empty());
    Ok(())
}
