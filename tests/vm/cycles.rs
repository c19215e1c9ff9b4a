//! Nothing is left over, however often VMs come and go.

use std::fs;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::host::Holdings;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Result};

const CYCLES: usize = 100; // of three VMs each

/// The agent's holdings once they stop changing.
fn settled(agent: &Agent<'_>, expected: Option<Holdings>) -> Result<Holdings> {
    let deadline = Instant::now() + Duration::from_secs(12);
    loop {
        let now = agent.holdings()?;
        let enough = expected.is_none_or(|before| now.descriptors <= before.descriptors);
        if enough || Instant::now() > deadline {
            return Ok(now);
        }
        std::thread::yield_now();
    }
}

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
    let before = settled(&agent, None)?;

    let ran = asker.run_within(Duration::from_secs(600), &all(CYCLES))?;
    let after = settled(&agent, Some(before))?;

    let failures = ran.output.lines().filter(|line| line.contains("no")).count();
    println!("before {before:?}, after {after:?}");
    assert_eq!(failures, 0, "{}", ran.output);
    assert!(after.descriptors <= before.descriptors, "{before:?} {after:?}");
    assert!(after.threads <= before.threads + 2, "libvirt calls reuse their threads: {before:?} {after:?}");
    assert!(after.memory_kib <= before.memory_kib + 4096, "{before:?} {after:?}");
    let sockets = fs::read_dir(lab.path("/run/fence-vmchannel/guests")).unwrap().count();
    assert_eq!(sockets, 3, "the asker's and the two connect channels', made ahead for the next start");
    assert_eq!(fs::read_dir(lab.path("/run/fence-vmchannel/spool")).unwrap().count(), 0);
    drop(targets);
    Ok(())
}
