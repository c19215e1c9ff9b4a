//! Nothing is left over, however often VMs come and go.

use std::fs;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Result};

/// Cycles of each of the three VMs, unless `FENCE_TEST_CYCLES` says more.
const CYCLES: usize = 100;

fn cycles() -> usize {
    std::env::var("FENCE_TEST_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(CYCLES)
}

/// What the agent holds.
#[derive(Debug)]
struct Held {
    /// Handles on QEMU processes.
    pidfds: usize,
    descriptors: usize,
    threads: usize,
    memory_kib: usize,
}

fn held(agent: &Agent<'_>) -> Result<Held> {
    let holdings = agent.holdings()?;
    let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.pid())).into_iter().flatten().flatten();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    let pidfds = targets.filter(|target| target.to_string_lossy().contains("pidfd")).count();
    let (descriptors, threads, memory_kib) = (holdings.descriptors, holdings.threads, holdings.memory_kib);
    Ok(Held { pidfds, descriptors, threads, memory_kib })
}

/// Connections to libvirt that are kept for the next call, and threads for them.
const KEPT: usize = 8;

#[test]
fn three_hundred_cycles_with_requests_in_flight_leave_no_descriptor_no_task_and_no_file() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let asker = Guest::named("asker").in_cluster("web").with(Channel::VirtioConnect).start(&lab)?;
    let plan = |name: &str, channel| Guest::named(name).in_cluster("web").with(channel).cheap().define(&lab);
    let targets = [
        plan("cycle1", Channel::VirtioConnect)?,
        plan("cycle2", Channel::VirtioBind { path: None })?,
        plan("cycle3", Channel::SerialConnect)?,
    ];
    asker.wait_for_shell()?;
    // In the guest: three loops at once, each counts what does not end as it should.
    let one = |n: usize, times: usize| {
        format!(
            "(for i in $(seq {times}); do fence_vmchannel -o on -n cycle{n} || echo no; \
             fence_vmchannel -o status -n cycle{n} || echo no; \
             fence_vmchannel -o off -n cycle{n} || echo no; done >/tmp/cycle{n} 2>&1) & "
        )
    };
    let all =
        |times: usize| format!("{} {} {} wait; cat /tmp/cycle*", one(1, times), one(2, times), one(3, times));
    asker.run_within(Duration::from_secs(120), &all(2))?; // whatever is opened once is open now
    let before = held(&agent)?;

    let ran = asker.run_within(Duration::from_secs(1800), &all(cycles()))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while held(&agent)?.pidfds > before.pidfds && Instant::now() < deadline {
        std::thread::yield_now(); // the inventory hears of the last end
    }
    let after = held(&agent)?;

    let failures = ran.output.lines().filter(|line| line.contains("no")).count();
    println!("before {before:?}, after {after:?}");
    assert_eq!(failures, 0, "{}", ran.output);
    assert!(after.pidfds <= before.pidfds, "{before:?} {after:?}");
    assert!(after.descriptors <= before.descriptors + KEPT, "{before:?} {after:?}");
    assert!(after.threads <= before.threads + KEPT, "{before:?} {after:?}");
    assert!(after.memory_kib <= before.memory_kib + 4096, "{before:?} {after:?}");
    let sockets = fs::read_dir(lab.path("/run/fence-vmchannel/guests")).unwrap().count();
    assert_eq!(sockets, 3, "the asker's and the two connect channels', made ahead for the next start");
    assert_eq!(fs::read_dir(lab.path("/run/fence-vmchannel/spool")).unwrap().count(), 0);
    drop(targets);
    Ok(())
}
