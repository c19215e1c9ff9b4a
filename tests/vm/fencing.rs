//! The main job: a guest without a network fences its neighbour, and nobody else.

use std::time::Duration;

use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Result};

/// Off, proven, over this channel; the neighbour's process is gone before the client ends.
fn fences_over(channel: Channel, name: &str, client: &str) -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let neighbour = format!("{name}2");
    let asker = Guest::named(&format!("{name}1")).in_cluster("web").with(channel).start(&lab)?;
    let target = Guest::named(&neighbour).in_cluster("web").cheap().start(&lab)?;
    asker.wait_for_shell()?;
    let process = target.process()?;

    let seen = asker.run(&format!("{client} -o status -n {neighbour}"))?;
    let off = asker.run(&format!("{client} -o off -n {neighbour} --json"))?;
    let gone = process.is_gone();
    let seen_off = asker.run(&format!("{client} -o status -n {neighbour}"))?;

    assert_eq!(seen.exit_code, 0, "{}", seen.output);
    assert_eq!(off.exit_code, 0, "{}\n{}", off.output, agent.log().join("\n"));
    assert!(off.output.contains(r#""evidence":"process-gone""#), "{}", off.output);
    assert!(gone, "the process is gone before the client says off");
    assert_eq!(seen_off.exit_code, 2, "{}", seen_off.output);
    agent.wait_for_log(&["audit", "process-gone", &neighbour], Duration::from_secs(1))?;
    Ok(())
}

#[test]
fn a_guest_without_a_network_fences_its_neighbour_over_virtio_connect() -> Result<()> {
    fences_over(Channel::VirtioConnect, "vc", "fence_vmchannel")
}

#[test]
fn a_guest_without_a_network_fences_its_neighbour_over_virtio_bind() -> Result<()> {
    fences_over(Channel::VirtioBind { path: None }, "vb", "fence_vmchannel")
}

#[test]
fn a_guest_without_a_network_fences_its_neighbour_over_virtio_bind_at_a_named_path() -> Result<()> {
    let path = Some("/var/lib/libvirt/qemu/channel/vp.sock".into());
    fences_over(Channel::VirtioBind { path }, "vp", "fence_vmchannel")
}

#[test]
fn a_guest_without_a_network_fences_its_neighbour_over_serial_connect() -> Result<()> {
    fences_over(Channel::SerialConnect, "sc", "fence_vmchannel --device /dev/ttyS1")
}

#[test]
fn a_guest_without_a_network_fences_its_neighbour_over_serial_bind() -> Result<()> {
    fences_over(Channel::SerialBind, "sb", "fence_vmchannel --device /dev/ttyS1")
}

#[test]
fn ten_offs_from_inside_a_guest_take_sixty_milliseconds_each_at_most_in_the_middle() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = Guest::named("quick1").in_cluster("web").with(Channel::VirtioConnect).start(&lab)?;
    let target = Guest::named("quick2").in_cluster("web").cheap().start(&lab)?;
    asker.wait_for_shell()?;

    let mut took = Vec::new();
    for _ in 0..10 {
        let ran = asker.run("time fence_vmchannel -o off -n quick2 2>&1")?;
        assert_eq!(ran.exit_code, 0, "{}", ran.output);
        took.push(real_seconds(&ran.output));
        let on = asker.run("fence_vmchannel -o on -n quick2")?;
        assert_eq!(on.exit_code, 0, "{}", on.output);
    }
    took.sort_by(f64::total_cmp);

    println!("off from the client's start to its exit, seconds: {took:?}");
    assert!(took[5] < 2.0, "a bound for a broken machine; the figure is in docs/promises.md: {took:?}");
    drop(target);
    Ok(())
}

/// The seconds in busybox's `real 0m 0.05s`.
fn real_seconds(output: &str) -> f64 {
    let line = output.lines().find(|line| line.starts_with("real")).unwrap_or_default();
    line.split_whitespace()
        .last()
        .and_then(|word| word.trim_end_matches('s').parse().ok())
        .unwrap_or(f64::MAX)
}

#[test]
fn reboot_gives_a_new_process_and_reboot_of_what_is_off_starts_it() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = Guest::named("boot1").in_cluster("web").with(Channel::VirtioConnect).start(&lab)?;
    let target = Guest::named("boot2").in_cluster("web").cheap().start(&lab)?;
    asker.wait_for_shell()?;
    let first = target.process()?;

    let reboot = asker.run("fence_vmchannel -o reboot -n boot2 --json")?;
    let (gone, second) = (first.is_gone(), target.process()?);
    target.destroy()?;
    let from_off = asker.run("fence_vmchannel -o reboot -n boot2")?;

    assert_eq!(reboot.exit_code, 0, "{}", reboot.output);
    assert!(
        reboot.output.contains(r#""state":"on""#) && reboot.output.contains("process-gone"),
        "{}",
        reboot.output
    );
    assert!(gone && second.is_gone());
    assert_eq!(from_off.exit_code, 0, "{}", from_off.output);
    assert!(target.is_running(), "a reboot of what is off starts it");
    Ok(())
}

#[test]
fn a_transient_guest_is_rebooted_from_its_own_definition() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = Guest::named("tran1").in_cluster("web").with(Channel::VirtioConnect).start(&lab)?;
    let plan = Guest::named("tran2").in_cluster("web").cheap().transient();
    let target = plan.with(Channel::VirtioBind { path: None }).start(&lab)?;
    asker.wait_for_shell()?;
    let first = target.process()?;

    let reboot = asker.run("fence_vmchannel -o reboot -n tran2 --json")?;
    let runs = target.is_running();
    let off = asker.run("fence_vmchannel -o off -n tran2")?;
    let on = asker.run("fence_vmchannel -o on -n tran2 2>&1")?;

    assert_eq!(reboot.exit_code, 0, "{}", reboot.output);
    assert!(first.is_gone() && runs, "{}", reboot.output);
    assert_eq!(off.exit_code, 0, "{}", off.output);
    assert_eq!(on.exit_code, 1, "its definition is gone with it: {}", on.output);
    Ok(())
}

#[test]
fn a_guest_outside_the_cluster_is_refused_sees_nothing_and_cannot_tell_foreign_from_unknown() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let outsider = Guest::named("out1").in_cluster("db").with(Channel::VirtioConnect).start(&lab)?;
    let web = Guest::named("web9").in_cluster("web").cheap().start(&lab)?;
    outsider.wait_for_shell()?;

    let list = outsider.run("fence_vmchannel -o list")?;
    let foreign = outsider.run("fence_vmchannel -o off -n web9 2>&1")?;
    let unknown = outsider.run("fence_vmchannel -o off -n nope 2>&1")?;
    let status = outsider.run("fence_vmchannel -o status -n web9 2>&1")?;

    assert_eq!(list.exit_code, 0, "{}", list.output);
    assert!(list.output.contains("out1") && !list.output.contains("web9"), "{}", list.output);
    assert_eq!((foreign.exit_code, unknown.exit_code, status.exit_code), (1, 1, 1), "never 0, never 2");
    assert_eq!(foreign.output.replace("web9", "nope"), unknown.output);
    assert!(web.is_running());
    agent.wait_for_log(&["audit", "refused", "out1", "web9"], Duration::from_secs(1))?;
    Ok(())
}
