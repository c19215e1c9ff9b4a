//! Pacemaker itself as the one that asks: its fencing daemon and `stonith_admin` inside a real guest, without a network.
//!
//! The daemon runs alone (`--stand-alone`), so what is not here is the rest of a cluster: membership and the scheduler.

use std::thread::sleep;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::debian::Packages;
use fence_vmchannel_tests::guest::Process;
use fence_vmchannel_tests::image::Image;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Ran, Result};

/// A lab whose real guests have Pacemaker's fencing daemon.
fn lab() -> Result<Lab> {
    let lab = Lab::start()?;
    let packages = Packages::get("pacemaker", &["pacemaker", "pacemaker-cli-utils"])?;
    let files = packages.with_libraries(&["usr/lib/pacemaker/pacemaker-fenced", "usr/sbin/stonith_admin"])?;
    Image::get()?.put_into_with(&lab, &files, &[])?;
    Ok(lab)
}

/// A node of the cluster `web` whose fencing daemon answers, and knows the agent as the device `vms`.
fn node<'lab>(lab: &'lab Lab, name: &str, device: &str) -> Result<Guest<'lab>> {
    let plan = Guest::named(name).in_cluster("web").with(Channel::VirtioConnect).with_memory(384);
    let node = plan.boot(lab)?;
    for line in PREPARE {
        succeed(&node, line)?;
    }
    succeed(&node, &format!("stonith_admin --register vms {device}"))?;
    Ok(node)
}

/// What a package's installation would have done, then the daemon.
const PREPARE: [&str; 4] = [
    "mkdir -p /dev/shm /var/run /var/lib/pacemaker/cores /var/log/pacemaker /usr/sbin",
    "echo 'root:x:0:0::/root:/bin/sh' >/etc/passwd; echo 'hacluster:x:999:999::/:/bin/false' >>/etc/passwd; \
     echo 'root:x:0:' >/etc/group; echo 'haclient:x:999:' >>/etc/group",
    "mount -t tmpfs shm /dev/shm; for name in fence_vmchannel fence_virt fence_xvm; do ln -s /sbin/fence_vmchannel /usr/sbin/$name; done; ip link set lo up",
    "{ /usr/lib/pacemaker/pacemaker-fenced --stand-alone >/tmp/fenced.log 2>&1 & }; \
     until stonith_admin --list-registered >/dev/null 2>&1; do usleep 50000; done",
];

fn succeed(guest: &Guest<'_>, command: &str) -> Result<Ran> {
    let ran = guest.run(command)?;
    assert_eq!(ran.exit_code, 0, "{command}: {}", ran.output);
    Ok(ran)
}

const MAP: &str = "--agent fence_vmchannel --option 'pcmk_host_map=node1:pm1;node2:pm2;node3:pm3' --option pcmk_host_check=static-list";
const PLUG: &str = "--agent fence_vmchannel --option plug=pm2 --option pcmk_host_list=node9 --option pcmk_host_check=static-list";

#[test]
fn pacemaker_in_a_guest_reads_validates_lists_fences_and_reboots() -> Result<()> {
    let lab = lab()?;
    let agent = Agent::start(&lab)?;
    let target = Guest::named("pm2").in_cluster("web").cheap().start(&lab)?;
    let first = target.process()?;
    let node = node(&lab, "pm1", MAP)?;

    let metadata = succeed(&node, "stonith_admin --metadata --agent fence_vmchannel")?;
    succeed(&node, "stonith_admin --validate --agent fence_vmchannel")?;
    let invalid = node.run("stonith_admin --validate --agent fence_vmchannel --option device=/dev/none")?;
    let devices = succeed(&node, "stonith_admin --list node2")?;
    let targets = succeed(&node, "stonith_admin --list-targets vms")?;
    succeed(&node, "stonith_admin --query vms")?;
    succeed(&node, "stonith_admin --reboot node2 --timeout 60")?;
    let (first_gone, second) = (first.is_gone(), target.process()?);
    succeed(&node, &format!("stonith_admin --register plugged {PLUG}"))?;
    succeed(&node, "stonith_admin --reboot node9 --timeout 60")?;
    let (second_gone, third) = (second.is_gone(), target.process()?);
    let fence = succeed(&node, "stonith_admin --fence node2 --timeout 60")?;

    assert!(metadata.output.contains("name=\"fence_vmchannel\""), "{}", metadata.output);
    assert_ne!(invalid.exit_code, 0, "{}", invalid.output);
    assert!(invalid.output.contains("there is no /dev/none"), "{}", invalid.output);
    assert!(devices.output.contains("vms"), "{}", devices.output);
    assert!(targets.output.contains("pm2"), "{}", targets.output);
    assert!(first_gone, "a reboot ends the process");
    assert!(second_gone, "so it does where the device names its target itself, by plug=");
    assert!(third.is_gone() && !target.is_running(), "{}", fence.output);
    agent.wait_for_log(&["audit", "process-gone", "pm2"], Duration::from_secs(1))?;
    Ok(())
}

#[test]
fn pacemaker_hears_of_a_failure_when_a_target_is_foreign_or_cannot_be_killed_and_tries_again() -> Result<()> {
    let lab = lab()?;
    let agent = Agent::start_with(&lab, "kill-after-seconds = 1\ngive-up-after-seconds = 6\n")?;
    let foreign = Guest::named("pm3").in_cluster("other").cheap().start(&lab)?;
    let stuck = Guest::named("pm2").in_cluster("web").cheap().start(&lab)?;
    let node = node(&lab, "pm1", &format!("{MAP} --option timeout=7"))?;
    let pid = stuck.pid()?.to_string();
    stuck.process()?.freeze()?;

    let refused = node.run("stonith_admin --fence node3 --timeout 20")?;
    let unknown = node.run("stonith_admin --fence node9 --timeout 20")?;
    let in_vain = node.run("stonith_admin --reboot node2 --timeout 40")?;
    let history = succeed(&node, "stonith_admin --history '*' --verbose")?;

    assert_ne!(refused.exit_code, 0, "{}", refused.output);
    assert_ne!(unknown.exit_code, 0, "{}", unknown.output);
    assert_ne!(in_vain.exit_code, 0, "{}", in_vain.output);
    assert!(foreign.is_running() && stuck.is_running());
    assert!(!history.output.contains("succe"), "{}", history.output);
    let log = agent.log();
    let refusals =
        log.iter().filter(|line| ["audit", "refused", "pm3"].iter().all(|part| line.contains(part)));
    assert_eq!(refusals.count(), 2, "Pacemaker asks twice: {}", log.join("\n"));
    assert!(log.iter().any(|line| line.contains("audit") && line.contains(&pid)), "{}", log.join("\n"));
    Ok(())
}

#[test]
fn pacemaker_s_old_devices_of_fence_xvm_and_fence_virt_go_over_the_guest_s_channel() -> Result<()> {
    let lab = lab()?;
    let agent = Agent::start(&lab)?;
    let target = Guest::named("pm2").in_cluster("web").cheap().start(&lab)?;
    let xvm = "--agent fence_xvm --option key_file=/etc/cluster/fence_xvm.key";
    let node = node(&lab, "pm1", xvm)?;
    let first = target.process()?;

    succeed(&node, "stonith_admin --metadata --agent fence_virt")?;
    succeed(&node, "stonith_admin --reboot pm2 --timeout 60")?; // without a map, the node's name is the target's
    let second = target.process()?;
    succeed(&node, "stonith_admin --register old --agent fence_virt; stonith_admin --deregister vms")?;
    succeed(&node, "stonith_admin --fence pm2 --timeout 60")?;
    let status = node.run("fence_xvm -o status -n pm2")?;
    let list = succeed(&node, "fence_virt -o list")?;
    let denied = node.run("fence_virt -o off -n pm9 2>/dev/null")?;

    assert!(first.is_gone() && second.is_gone());
    assert_eq!((status.exit_code, status.output.as_str()), (2, "Status: OFF\n"));
    assert!(list.output.contains(&format!("pm2{} {} off", " ".repeat(29), target.uuid())), "{}", list.output);
    assert_eq!((denied.exit_code, denied.output.as_str()), (3, "Permission denied\n"));
    agent.wait_for_log(&["audit", "process-gone", "pm2"], Duration::from_secs(1))?;
    Ok(())
}

/// The node's Pacemaker fences the other one, and its agent is under way when this returns.
fn shoot(node: &Guest<'_>, other: &str) -> Result<()> {
    let fence = format!("stonith_admin --fence {other} --timeout 60; echo $? >/tmp/ended");
    let under_way = "until pidof fence_vmchannel >/dev/null; do usleep 20000; done";
    succeed(node, &format!("{{ {fence}; }} >/dev/null 2>&1 & {under_way}")).map(drop)
}

#[test]
fn of_two_nodes_whose_pacemakers_fence_each_other_one_survives_and_hears_of_its_success() -> Result<()> {
    let lab = lab()?;
    let agent = Agent::start(&lab)?;
    let device = "--agent fence_vmchannel --option pcmk_host_map='pm1:pm1;pm2:pm2'";
    let nodes = [node(&lab, "pm1", device)?, node(&lab, "pm2", device)?];
    let processes = [nodes[0].process()?, nodes[1].process()?];

    agent.sigstop()?; // so that both ask before either is heard
    shoot(&nodes[0], "pm2")?;
    shoot(&nodes[1], "pm1")?;
    agent.sigcont()?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !processes.iter().any(Process::is_gone) && Instant::now() < deadline {
        sleep(Duration::from_millis(5)); // two processes are watched at once
    }
    let survivor = if processes[0].is_gone() { &nodes[1] } else { &nodes[0] };
    let ended = survivor.run("until test -s /tmp/ended; do usleep 20000; done; cat /tmp/ended")?;

    assert_eq!(ended.output.trim(), "0", "the survivor's Pacemaker: {}", agent.log().join("\n"));
    assert_eq!(processes.iter().filter(|process| process.is_gone()).count(), 1);
    assert!(survivor.is_running());
    Ok(())
}
