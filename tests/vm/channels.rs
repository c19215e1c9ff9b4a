//! Channels: who is let in, who is not, what is left behind.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, Instant};

use fence_vmchannel_tests::host::operator;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Peer, Result};

const SOON: Duration = Duration::from_secs(5);

/// Waits until the agent has a socket for the guest.
fn wait_for_socket(lab: &Lab, guest: &Guest<'_>) {
    let socket = lab.path(&format!("/run/fence-vmchannel/guests/{}.sock", guest.uuid()));
    let deadline = Instant::now() + SOON;
    while !fs::symlink_metadata(&socket).is_ok_and(|found| found.file_type().is_socket()) {
        assert!(Instant::now() < deadline, "no socket {}", socket.display());
        std::thread::yield_now();
    }
}

#[test]
fn a_process_that_is_not_the_domains_qemu_is_refused_and_audited() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let guest = Guest::named("door1").in_cluster("web").with(Channel::VirtioConnect).cheap().start(&lab)?;
    wait_for_socket(&lab, &guest);

    let refused = Peer::connect(&lab, guest.uuid())?.is_turned_away(SOON);

    assert!(refused);
    let pid = std::process::id().to_string();
    agent.wait_for_log(&["stranger refused", "door1", &pid], SOON)?;
    Ok(())
}

#[test]
fn nobody_is_let_in_while_the_domain_does_not_run() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let guest = Guest::named("door2").in_cluster("web").with(Channel::VirtioConnect).cheap().define(&lab)?;
    wait_for_socket(&lab, &guest);

    let refused = Peer::connect(&lab, guest.uuid())?.is_turned_away(SOON);

    assert!(refused);
    agent.wait_for_log(&["stranger refused", "the domain does not run"], SOON)?;
    Ok(())
}

#[test]
fn the_socket_belongs_to_the_domains_qemu_also_after_an_agent_restart_and_to_nobody_else() -> Result<()> {
    let lab = Lab::start()?;
    let mut agent = Agent::start(&lab)?;
    let guest = Guest::named("owner1").in_cluster("web").with(Channel::VirtioConnect).cheap().start(&lab)?;
    let qemu = fs::metadata(format!("/proc/{}", guest.pid()?)).unwrap();
    let socket = lab.path(&format!("/run/fence-vmchannel/guests/{}.sock", guest.uuid()));

    agent.wait_for_log(&["served", "owner1"], SOON)?;
    agent.kill();
    let after = agent.log().len();
    agent.restart()?;
    agent.wait_for_log(&["served", "owner1"], SOON)?;

    let found = fs::metadata(&socket).unwrap();
    assert!(after > 0);
    assert_eq!((found.uid(), found.gid()), (qemu.uid(), qemu.gid()));
    assert_ne!(found.uid(), 0, "QEMU does not run as root here");
    assert_eq!(found.mode() & 0o777, 0o600);
    Ok(())
}

#[test]
fn a_socket_is_gone_when_its_domain_is_gone() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let guest = Guest::named("gone1").with(Channel::VirtioConnect).cheap().start(&lab)?;
    wait_for_socket(&lab, &guest);
    let socket = lab.path(&format!("/run/fence-vmchannel/guests/{}.sock", guest.uuid()));

    guest.destroy()?;
    guest.undefine()?;

    let deadline = Instant::now() + SOON;
    while fs::symlink_metadata(&socket).is_ok() {
        assert!(Instant::now() < deadline, "{} is left", socket.display());
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn every_running_guest_is_served_again_within_two_seconds_after_an_agent_restart() -> Result<()> {
    let lab = Lab::start()?;
    let mut agent = Agent::start(&lab)?;
    let asker = Guest::named("again1").in_cluster("web").with(Channel::VirtioConnect).start(&lab)?;
    let bound = Guest::named("again2")
        .in_cluster("web")
        .with(Channel::VirtioBind { path: None })
        .cheap()
        .start(&lab)?;
    let serial = Guest::named("again3").in_cluster("web").with(Channel::SerialConnect).cheap().start(&lab)?;
    asker.wait_for_shell()?;

    agent.restart()?;
    let begun = Instant::now();
    for guest in [&asker, &bound, &serial] {
        agent.wait_for_log(&["served", guest.name()], SOON)?;
    }
    let took = begun.elapsed();
    let status = asker.run("fence_vmchannel -o status -n again2")?;

    println!("served again after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(status.exit_code, 0, "{}", status.output);
    Ok(())
}

#[test]
fn a_foreign_channel_is_never_touched() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let plan = Guest::named("alien1").in_cluster("web").with(Channel::VirtioBind { path: None }).cheap();
    let guest = plan.define(&lab)?;
    let file = lab.directory().join("alien.xml");
    fs::write(&file, "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>")
        .unwrap();
    lab.virsh(&["attach-device", guest.name(), &file.to_string_lossy(), "--config"])?;

    guest.start()?;
    agent.wait_for_log(&["served", "alien1"], SOON)?;

    // State 03 is a connection that was taken (`SS_CONNECTED`), 02 one that waits.
    let sockets = || fs::read_to_string(format!("/proc/{}/net/unix", agent.pid())).unwrap();
    let in_state = |state: &str, name: &str| {
        sockets().lines().filter(|line| line.contains(state) && line.contains(name)).count()
    };
    let deadline = Instant::now() + SOON;
    while in_state(" 03 ", "org.fence_vmchannel.0") == 0 {
        assert!(Instant::now() < deadline, "{}", sockets());
        std::thread::yield_now();
    }
    assert_eq!(in_state(" 03 ", "org.qemu.guest_agent.0") + in_state(" 02 ", "org.qemu.guest_agent.0"), 0);
    Ok(())
}

#[test]
fn a_channel_that_another_program_holds_is_told_and_served_when_it_leaves() -> Result<()> {
    let lab = Lab::start()?;
    let path = "/var/lib/libvirt/qemu/channel/held.sock";
    let plan = Guest::named("held1").in_cluster("web").cheap();
    let guest = plan.with(Channel::VirtioBind { path: Some(path.into()) }).start(&lab)?;
    let inside = || lab.enter().map(|()| std::os::unix::net::UnixStream::connect(path).unwrap());
    let other = std::thread::scope(|scope| scope.spawn(inside).join()).unwrap()?;

    let agent = Agent::start(&lab)?;
    agent.wait_for_log(&["another program is connected", "held1"], SOON)?;
    let report = operator(&lab, &["guests"])?;
    drop(other);

    assert!(report.output.contains("occupied"), "{}", report.output);
    let deadline = Instant::now() + Duration::from_secs(15);
    while !operator(&lab, &["guests"])?.output.contains("served") {
        assert!(Instant::now() < deadline);
    }
    drop(guest);
    Ok(())
}
