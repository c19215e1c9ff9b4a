//! Thousands of channels: 2000 in `make check`, ten thousand where `FENCE_MANY` says so (libvirtd reads their definitions one
//! by one).

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Body};
use fence_vmchannel_tests::asker::request;
use fence_vmchannel_tests::host::operator;
use fence_vmchannel_tests::{Agent, Asker, Channel, Guest, Lab, Result};

use crate::alone;
use crate::crowd::{Defined, PATIENCE, before_others, lab, read_definitions};
use crate::figures::{memory, percentile, processor_share, processor_time, setting};

/// Promised are 40 MiB for ten thousand: a process that only holds a connection to libvirt has 18.
const BASE_KIB: usize = if cfg!(debug_assertions) { 33 * 1024 } else { 25 * 1024 };
const PER_CHANNEL_BYTES: usize = 1500;
const LISTS: usize = 20;
const EVENTS: u32 = 5;

/// Waits until the agent has made so many sockets.
fn wait_for_sockets(lab: &Lab, count: usize) -> Result<()> {
    let directory = lab.path("/run/fence-vmchannel/guests");
    let made = |directory: &Path| fs::read_dir(directory).map(Iterator::count).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(120);
    while made(&directory) < count {
        assert!(Instant::now() < deadline, "{} of {count} sockets", made(&directory));
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// How many targets are listed, and how long that took.
fn list(asker: &mut Asker<'_>) -> Result<(usize, Duration)> {
    let (request, begun) = (request(Ask::List, PATIENCE)?, Instant::now());
    asker.peer().say(&request)?;
    let mut listed = 0;
    loop {
        let reply = asker.peer().hear(request.id, begun + PATIENCE)?;
        if let Body::Items(items, _) = &reply.body {
            listed += items.len();
        }
        if reply.is_final() {
            return Ok((listed, begun.elapsed()));
        }
    }
}

#[test]
fn thousands_of_channels_are_small_and_quick() -> Result<()> {
    let _alone = alone();
    let channels = setting("FENCE_MANY", 2000);
    let lab = lab()?;
    for number in 0..channels {
        Defined::write(&lab, &format!("many{number:05}"), "many");
    }
    let begun = Instant::now();
    read_definitions(&lab)?;
    lab.virsh(&["list", "--all", "--name"])?; // answered when all are read
    println!("{channels} channels; libvirtd has read its definitions after {:.1?}", begun.elapsed());

    let begun = Instant::now();
    let agent = Agent::start(&lab)?;
    wait_for_sockets(&lab, channels)?;
    let served = begun.elapsed();
    println!("all sockets are there {served:.2?} after the agent's start; {:.2?} of a processor", {
        processor_time(agent.pid())
    });
    let (resident, own) = memory(agent.pid());
    let threads = agent.holdings()?.threads;
    println!("{resident} KiB resident, {own} KiB of its own, {threads} threads");
    before_others(&lab, &agent)?;

    let mut asker = Asker::in_cluster(&lab, "tame0", "many")?;
    let lists = (0..LISTS).map(|_| {
        std::thread::sleep(Duration::from_millis(60));
        list(&mut asker)
    });
    let lists = lists.collect::<Result<Vec<_>>>()?;
    let times: Vec<Duration> = lists.iter().map(|(_, took)| *took).collect();
    println!("list p50 {:.1?}, p99 {:.1?}", percentile(&times, 50), percentile(&times, 99));
    let begun = Instant::now();
    let table = operator(&lab, &["guests"])?;
    println!("`guests` after {:.0?}", begun.elapsed());

    let guest = Guest::named("event").in_cluster("tame").with(Channel::VirtioConnect).cheap().define(&lab)?;
    let before = processor_time(agent.pid());
    for _ in 0..EVENTS {
        let told = agent.log().len();
        guest.start()?;
        agent.wait_for_log_after(told, &["served", "event"], PATIENCE)?;
        guest.destroy()?;
    }
    println!("{:.1?} of a processor for a start and a stop", (processor_time(agent.pid()) - before) / EVENTS);
    let ((), share) = processor_share(agent.pid(), || std::thread::sleep(Duration::from_secs(3)));
    println!("{:.2} % of a core when nothing happens", share * 100.0);
    let (resident_after, own_after) = memory(agent.pid());
    println!("at the end {resident_after} KiB resident, {own_after} KiB of its own");

    assert!(lists.iter().all(|(listed, _)| *listed > channels), "{lists:?}");
    assert!(table.output.lines().count() > channels);
    assert!(resident <= BASE_KIB + channels * PER_CHANNEL_BYTES / 1024, "{resident} KiB");
    assert!(served < Duration::from_secs(60), "{served:?}");
    assert!(percentile(&times, 50) < Duration::from_millis(500));
    Ok(())
}
