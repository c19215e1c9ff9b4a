//! A VM always starts, whatever state the agent is in, and is served soon after.

use std::time::{Duration, Instant};

use fence_vmchannel_tests::host::install_hook;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Result};

/// From the start of a VM, or the agent's return, until its channel is served.
const SERVED: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

fn plan(name: &str) -> fence_vmchannel_tests::guest::Plan {
    Guest::named(name).in_cluster("web").with(Channel::VirtioConnect).cheap()
}

/// Waits for the line that says that the guest is served; how long that took.
fn served(agent: &Agent<'_>, name: &str, since: Instant) -> Result<Duration> {
    agent.wait_for_log(&["served", name], PATIENCE)?;
    Ok(since.elapsed())
}

#[test]
fn a_vm_starts_and_is_served_while_the_agent_runs_with_and_without_the_hook() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;

    // libvirt cannot be asked about a transient domain before its start: without the hook its socket is missing.
    let defined = plan("run1").define(&lab)?;
    agent.wait_for_log(&["ready"], PATIENCE)?;
    wait_until_made(&lab, &defined);
    defined.start()?;
    let without = served(&agent, "run1", Instant::now())?;
    drop(agent);

    install_hook(&lab)?;
    let agent = Agent::start(&lab)?;
    let transient = plan("run2").transient().start(&lab)?;
    let with = served(&agent, "run2", Instant::now())?;

    println!("served after a start: without the hook {without:?}, with it {with:?}");
    assert!(without < SERVED && with < SERVED, "{without:?} {with:?}");
    assert!(transient.is_running());
    Ok(())
}

fn wait_until_made(lab: &Lab, guest: &Guest<'_>) {
    let socket = lab.path(&format!("/run/fence-vmchannel/guests/{}.sock", guest.uuid()));
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "no socket {}", socket.display());
        std::thread::yield_now();
    }
}

#[test]
fn a_vm_starts_while_the_agent_is_dead_and_is_served_after_its_return() -> Result<()> {
    let lab = Lab::start()?;
    install_hook(&lab)?;
    let mut agent = Agent::start(&lab)?;
    agent.kill();

    let guest = plan("dead1").start(&lab)?;
    let transient = plan("dead2").transient().start(&lab)?;
    let agent = Agent::start(&lab)?;
    let since = Instant::now();
    let first = served(&agent, "dead1", since)?;
    let second = served(&agent, "dead2", since)?;

    assert!(guest.is_running() && transient.is_running());
    println!("served after the agent's return: {first:?}, {second:?}");
    // QEMU tries again each second; that second may have just begun.
    assert!(first.max(second) < SERVED + Duration::from_millis(500), "{first:?} {second:?}");
    Ok(())
}

#[test]
fn a_vm_starts_while_the_agent_hangs_and_is_served_when_it_goes_on() -> Result<()> {
    let lab = Lab::start()?;
    install_hook(&lab)?;
    let agent = Agent::start(&lab)?;
    agent.sigstop()?;

    let guest = plan("hang1").start(&lab)?;
    let transient = plan("hang2").transient().start(&lab)?;
    agent.sigcont()?;
    let since = Instant::now();
    let first = served(&agent, "hang1", since)?;
    let second = served(&agent, "hang2", since)?;
    println!("served after the agent went on: {first:?}, {second:?}");

    assert!(guest.is_running() && transient.is_running());
    assert!(first.max(second) < SERVED + Duration::from_millis(500), "{first:?} {second:?}");
    Ok(())
}

#[test]
fn a_vm_starts_where_the_agent_was_never_installed_but_the_hook_is() -> Result<()> {
    let lab = Lab::start()?;
    install_hook(&lab)?;

    let guest = plan("never1").start(&lab)?;

    assert!(guest.is_running());
    Ok(())
}

#[test]
fn without_agent_and_hook_a_missing_socket_stops_the_start_and_libvirt_names_it() -> Result<()> {
    let lab = Lab::start()?;
    let guest = plan("bare1").define(&lab)?;

    let error = guest.start().unwrap_err().to_string();

    assert!(error.contains("/run/fence-vmchannel/guests/"), "{error}");
    Ok(())
}
