//! libvirtd dies, comes back, hangs: answers go on.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use fence_vmchannel_tests::host::install_hook;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Result};

const PATIENCE: Duration = Duration::from_secs(10);

fn cluster(lab: &Lab) -> Result<(Guest<'_>, Guest<'_>)> {
    let asker = Guest::named("away1").in_cluster("web").with(Channel::VirtioConnect).start(lab)?;
    let target = Guest::named("away2").in_cluster("web").cheap().start(lab)?;
    asker.wait_for_shell()?;
    Ok((asker, target))
}

/// Asks for the target's state `times` times; every answer must be "on".
fn is_on(asker: &Guest<'_>, times: usize) -> Result<()> {
    for _ in 0..times {
        let ran = asker.run("fence_vmchannel -o status -n away2 --timeout 5")?;
        assert_eq!(ran.exit_code, 0, "{}", ran.output);
    }
    Ok(())
}

#[test]
fn answers_go_on_while_libvirtd_is_killed_and_restarted_and_new_vms_are_served_soon_after() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let (asker, target) = cluster(&lab)?;
    is_on(&asker, 3)?;

    lab.libvirtd_kill()?;
    is_on(&asker, 5)?;
    lab.libvirtd_start()?;
    let since = Instant::now();
    let new = Guest::named("new1")
        .in_cluster("web")
        .with(Channel::VirtioBind { path: None })
        .cheap()
        .start(&lab)?;
    agent.wait_for_log(&["served", "new1"], PATIENCE)?;
    let took = since.elapsed();
    is_on(&asker, 3)?;

    println!("a new VM is served {took:?} after libvirtd is back");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(target.is_running() && new.is_running());
    Ok(())
}

#[test]
fn answers_go_on_while_libvirtd_hangs_for_twenty_seconds_and_new_vms_are_served_soon_after() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let (asker, _target) = cluster(&lab)?;

    lab.libvirtd_stop()?;
    let hung = Instant::now();
    while hung.elapsed() < Duration::from_secs(20) {
        is_on(&asker, 1)?;
    }
    lab.libvirtd_cont()?;
    let since = Instant::now();
    let _new = Guest::named("new2")
        .in_cluster("web")
        .with(Channel::VirtioBind { path: None })
        .cheap()
        .start(&lab)?;
    agent.wait_for_log(&["served", "new2"], PATIENCE)?;
    let took = since.elapsed();

    println!("a new VM is served {took:?} after libvirtd goes on");
    assert!(took < Duration::from_secs(2), "{took:?}");
    is_on(&asker, 3)
}

#[test]
fn off_is_proven_while_libvirtd_is_dead() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let (asker, target) = cluster(&lab)?;
    let process = target.process()?;
    lab.libvirtd_kill()?;

    let off = asker.run("fence_vmchannel -o off -n away2 --json")?;
    let gone = process.is_gone();
    let again = asker.run("fence_vmchannel -o status -n away2 2>&1")?;
    lab.libvirtd_start()?;

    assert_eq!(off.exit_code, 0, "{}", off.output);
    assert!(off.output.contains("process-gone") && gone, "{}", off.output);
    assert_eq!(
        again.exit_code, 1,
        "without libvirt what does not run is unknown, never off: {}",
        again.output
    );
    Ok(())
}

#[test]
fn a_target_that_ignores_sigterm_is_killed_after_the_grace() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start_with(&lab, "kill-after-seconds = 2\n")?;
    let (asker, target) = cluster(&lab)?;
    let process = target.process()?;
    process.stop()?;

    let begun = Instant::now();
    let off = asker.run("fence_vmchannel -o off -n away2 --json -v 2>&1")?;
    let took = begun.elapsed();

    assert_eq!(off.exit_code, 0, "{}", off.output);
    assert!(process.is_gone() && off.output.contains("process-gone"), "{}", off.output);
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(4), "grace of 2 s + 1 s: {took:?}");
    Ok(())
}

#[test]
fn a_target_that_cannot_be_killed_fails_with_its_pid_and_state_and_is_never_off() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start_with(&lab, "kill-after-seconds = 1\ngive-up-after-seconds = 6\n")?;
    let (asker, target) = cluster(&lab)?;
    let process = target.process()?;
    process.freeze()?;

    let off = asker.run("fence_vmchannel -o off -n away2 2>&1")?;
    let (alive, pid) = (!process.is_gone(), target.pid()?);
    process.thaw()?;

    assert_eq!(off.exit_code, 1, "{}", off.output);
    assert!(alive);
    assert!(off.output.contains(&pid.to_string()), "names the pid: {}", off.output);
    Ok(())
}

#[test]
fn the_agent_starts_before_libvirt_and_waits_for_it() -> Result<()> {
    let lab = Lab::start()?;
    lab.libvirtd_kill()?;

    let agent = Agent::start(&lab)?;
    lab.libvirtd_start()?;
    let _guest = Guest::named("late1").with(Channel::VirtioBind { path: None }).cheap().start(&lab)?;

    agent.wait_for_log(&["served", "late1"], PATIENCE)?;
    Ok(())
}

#[test]
fn an_order_that_waited_while_the_agent_hung_is_not_carried_out_later() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let (asker, target) = cluster(&lab)?;
    is_on(&asker, 1)?;

    agent.sigstop()?;
    let given_up = asker.run("fence_vmchannel -o off -n away2 --timeout 7")?;
    agent.sigcont()?;
    agent.wait_for_log(&["the agent was held up"], PATIENCE)?;
    let soon_after = Instant::now();
    while soon_after.elapsed() < Duration::from_millis(1500) {
        is_on(&asker, 1)?;
    }

    assert_eq!(given_up.exit_code, 1, "{}", given_up.output);
    assert!(target.is_running(), "who asked has given up long ago");
    let asked_again = asker.run("fence_vmchannel -o off -n away2")?;
    assert_eq!(asked_again.exit_code, 0, "{}", asked_again.output);
    assert!(!target.is_running());
    Ok(())
}

/// A hook that waits for as long as somebody holds the other end of its pipe, as `busy1` is to start.
fn install_a_hook_that_waits(lab: &Lab) -> io::Result<PathBuf> {
    let pipe = lab.path("/run/hook.pipe");
    mkfifo(&pipe, Mode::S_IRWXU)?;
    let hook = lab.path("/etc/libvirt/hooks/qemu.d/60-waits");
    let script = "#!/bin/sh\n[ \"$1 $2\" != \"busy1 start\" ] || cat /run/hook.pipe\n";
    fs::write(&hook, script)?;
    fs::set_permissions(&hook, Permissions::from_mode(0o755))?;
    Ok(pipe)
}

#[test]
fn an_agent_that_starts_while_libvirt_is_busy_with_one_domain_serves_the_others() -> Result<()> {
    let lab = Lab::start()?;
    install_hook(&lab)?;
    let pipe = install_a_hook_that_waits(&lab).unwrap();
    let mut agent = Agent::start(&lab)?;
    let (asker, target) = cluster(&lab)?;
    let process = target.process()?;
    let busy = Guest::named("busy1").in_cluster("web").cheap().define(&lab)?;

    let begun = Instant::now();
    let (off, gone) = thread::scope(|scope| {
        let started = scope.spawn(|| busy.start());
        let hold = OpenOptions::new().write(true).open(&pipe).unwrap();
        let tried = (|| {
            agent.restart()?;
            agent.wait_for_log(&["served", "away1"], PATIENCE)?;
            let off = asker.run("fence_vmchannel -o off -n away2 --timeout 10")?;
            Ok((off, process.is_gone()))
        })();
        println!("{:?} until the off", begun.elapsed());
        drop(hold);
        started.join().unwrap()?;
        tried
    })?;

    println!("{:?} until the end", begun.elapsed());
    assert_eq!((off.exit_code, gone), (0, true), "{}", off.output);
    assert!(busy.is_running());
    Ok(())
}
