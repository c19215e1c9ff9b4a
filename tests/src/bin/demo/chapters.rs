//! The story itself, chapter by chapter.
//!
//! In:  a [`Host`] with libvirt and nothing else. Out: [`Figures`], measured on the way.
//!
//! Invariant: every step is checked; the first that does not give what it should ends the story.

use std::time::{Duration, Instant};

use fence_vmchannel_tests::Guest;

use crate::hosting::{Host, LOG, RunningAgent};
use crate::story::{Story, Stumble, Told};

/// The virtual machines.
#[derive(Debug)]
pub(crate) struct Cast<'lab> {
    web1: Guest<'lab>,
    web2: Guest<'lab>,
    db1: Guest<'lab>,
}

/// What was measured, in milliseconds.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) off: Off,
    pub(crate) reboot: f64,
    pub(crate) by_virsh: ByVirsh,
}

/// How long `off` took.
#[derive(Debug)]
pub(crate) struct Off {
    /// From the client's start to its exit, in the guest.
    in_guest: f64,
    /// From the request to the end of the process, by the agent's clock.
    proven: f64,
}

/// How long libvirt's own commands took.
#[derive(Debug)]
pub(crate) struct ByVirsh {
    destroy: f64,
    start: f64,
}

/// A host with three virtual machines that nobody has prepared.
pub(crate) fn a_host_with_three_machines<'lab>(story: &mut Story<'_>, host: &Host<'lab>) -> Told<Cast<'lab>> {
    story.chapter("A host, and three virtual machines without a network")?;
    story.tell(&format!(
        "The host is a private libvirtd in a mount and network namespace of its own; its files are in\n\
         {}. This machine's own libvirtd is not touched. Three plain machines are defined:\n",
        host.lab.directory().display()
    ))?;
    let cast = Cast {
        web1: Guest::named("web1").define(host.lab)?,
        web2: Guest::named("web2").define(host.lab)?,
        db1: Guest::named("db1").define(host.lab)?,
    };
    story.host("virsh list --all")?.exits(0)?.says("web1")?.says("web2")?.says("db1")?;
    story.tell("No network interface, and no channel to the host yet:\n")?;
    let devices = "virsh dumpxml web1 | grep -E '<(interface|channel|hostdev)' || echo none";
    story.host("virsh domiflist web1")?.exits(0)?.omits("network")?;
    story.host(devices)?.exits(0)?.says("none")?;
    Ok(cast)
}

/// Everything that is to be done on the host.
pub(crate) fn everything_on_the_host(
    story: &mut Story<'_>,
    host: &Host<'_>,
    cast: &Cast<'_>,
) -> Told<RunningAgent> {
    story.chapter("Setting up the host: hook, agent, channels")?;
    story.host("fence-vmchanneld hook install --reload")?.exits(0)?.says("installed")?;
    let command = format!("fence-vmchanneld run 2>{LOG}");
    story.tell("The agent runs (systemd does this on a real host):\n")?;
    story.show_host(&format!("{command} &\n"))?;
    let agent = host.start_agent(&command)?;
    story.tell(
        "Each machine gets its channel, and a cluster: who is in the same cluster may fence each other.\n",
    )?;
    story.host("fence-vmchanneld channel add --cluster web web1 web2")?.exits(0)?;
    story.host("fence-vmchanneld channel add --cluster db db1")?.exits(0)?;
    story.host("virsh start web1; virsh start web2; virsh start db1")?.exits(0)?;
    story.await_boot(&[&cast.web1, &cast.web2, &cast.db1])?;
    story.chapter("What the agent sees")?;
    story.host("fence-vmchanneld guests")?.exits(0)?.says("served")?.omits("warning")?;
    Ok(agent)
}

/// What a guest can see.
pub(crate) fn what_web1_sees(story: &mut Story<'_>, cast: &Cast<'_>) -> Told<()> {
    story.chapter("Inside web1: no network, and yet it sees its neighbour")?;
    let web1 = &cast.web1;
    story.guest(web1, "ls /sys/class/net")?.exits(0)?.omits("eth")?;
    story.guest(web1, "fence_vmchannel -o list")?.exits(0)?.says("web2")?.omits("db1,")?;
    story.guest(web1, "fence_vmchannel -o status -n web2")?.exits(0)?;
    Ok(())
}

/// The main thing: off, and the proof.
pub(crate) fn web1_fences_web2(story: &mut Story<'_>, host: &Host<'_>, cast: &Cast<'_>) -> Told<Off> {
    story.chapter("web1 fences web2")?;
    story.tell("web2's QEMU process, before:\n")?;
    story.host("cat /run/libvirt/qemu/web2.pid; echo")?.exits(0)?;
    let process = cast.web2.process()?;
    let off = story.guest(&cast.web1, "time fence_vmchannel -o off -n web2 -v")?;
    let gone = process.is_gone();
    let off = off.exits(0)?.says("process-gone")?;
    if !gone {
        return Err(Stumble::Wrong(format!("process {} lives, but the client said off", process.pid)));
    }
    story.tell("The client said so only after the agent saw the end of that very process. On the host:\n")?;
    story.host(&format!("ls -d /proc/{}", process.pid))?.exits(2)?;
    story.host(&format!("grep audit {LOG}"))?.exits(0)?.says("process-gone")?;
    story.tell("libvirt looks only every 200 ms whether a process is gone, so it knows a moment later:\n")?;
    await_shut_off(host, "web2")?;
    story.host("virsh domstate web2")?.exits(0)?.says("shut off")?;
    story.tell("For a fence agent, exit code 2 of status means: it is off.\n")?;
    story.guest(&cast.web1, "fence_vmchannel -o status -n web2")?.exits(2)?;
    Ok(Off { in_guest: milliseconds(off.output())?, proven: off.number(", ", " ms)")? })
}

/// Default deny.
pub(crate) fn web1_is_refused(story: &mut Story<'_>, cast: &Cast<'_>) -> Told<()> {
    story.chapter("web1 may not fence db1")?;
    let foreign =
        story.guest(&cast.web1, "fence_vmchannel -o off -n db1")?.exits(1)?.says("not-permitted")?;
    story.tell(
        "A name that does not exist gets the same answer, so a guest cannot find out what else runs here:\n",
    )?;
    let unknown = story.guest(&cast.web1, "fence_vmchannel -o off -n nope")?.exits(1)?;
    if foreign.output().replace("db1", "nope") != unknown.output() {
        return Err(Stumble::Wrong("a foreign and an unknown name got different answers".into()));
    }
    story.tell("The host's administrator is told why, and db1 has not noticed anything:\n")?;
    story.host("fence-vmchanneld explain web1 off db1")?.exits(1)?;
    story.host("fence-vmchanneld explain web1 off web2")?.exits(0)?;
    story.host("virsh domstate db1")?.exits(0)?.says("running")?;
    Ok(())
}

/// On again, and reboot. Gives the reboot's time by the agent's clock, in milliseconds.
pub(crate) fn web2_comes_back(story: &mut Story<'_>, cast: &Cast<'_>) -> Told<f64> {
    story.chapter("web1 brings web2 back, then reboots it")?;
    story.guest(&cast.web1, "fence_vmchannel -o on -n web2")?.exits(0)?;
    story.await_boot(&[&cast.web2])?;
    let first = cast.web2.process()?;
    let reboot =
        story.guest(&cast.web1, "fence_vmchannel -o reboot -n web2")?.exits(0)?.says("process-gone")?;
    let second = cast.web2.process()?;
    if !first.is_gone() || second.pid == first.pid {
        return Err(Stumble::Wrong("reboot left the old process".into()));
    }
    story.tell("Another process, and a system that has just started:\n")?;
    let pids = format!("ls -d /proc/{}; cat /run/libvirt/qemu/web2.pid; echo", first.pid);
    story.host(&pids)?.exits(0)?.says(&second.pid.to_string())?;
    story.await_boot(&[&cast.web2])?;
    story.guest(&cast.web2, "cut -d ' ' -f 1 /proc/uptime")?.exits(0)?;
    reboot.number(", ", " ms)")
}

/// What the same takes by libvirt's own hand.
pub(crate) fn the_same_by_virsh(story: &mut Story<'_>) -> Told<ByVirsh> {
    story.chapter("To compare, the same by libvirt's own commands")?;
    let destroy = story.host("virsh --timing destroy db1")?.exits(0)?;
    let start = story.host("virsh --timing start db1")?.exits(0)?;
    Ok(ByVirsh { destroy: destroy.number("Time: ", " ms")?, start: start.number("Time: ", " ms")? })
}

/// What it came to.
pub(crate) fn summary(story: &mut Story<'_>, figures: &Figures) -> Told<()> {
    let Figures { off, reboot, by_virsh } = figures;
    let (by_hand, story_took) = (by_virsh.destroy + by_virsh.start, story.elapsed().as_secs_f64());
    story.chapter("Summary")?;
    for (what, milliseconds) in [
        ("off: web2's process was seen gone, by the agent's clock", off.proven),
        ("off: from the client's start in web1 to its exit", off.in_guest),
        ("virsh destroy", by_virsh.destroy),
        ("reboot: seen gone and started again, by the agent's clock", *reboot),
        ("virsh destroy, then virsh start", by_hand),
    ] {
        story.tell(&format!("  {what:<58} {milliseconds:>6.0} ms"))?;
    }
    story.tell(&format!("  {:<58} {story_took:>6.1} s", "all of this, with five boots"))?;
    story.tell(
        "\nWhat next: README.md, \"On a real host\", has the five commands for yours; a Pacemaker cluster then\n\
         calls the same fence_vmchannel as its fence agent. KEEP=1 make demo leaves all this for you to play with.",
    )
}

/// Asks libvirt until it has seen what the agent knew before it.
fn await_shut_off(host: &Host<'_>, name: &str) -> Told<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while host.run(&format!("virsh domstate {name}"))?.output.trim() != "shut off" {
        if Instant::now() > deadline {
            return Err(Stumble::Wrong(format!("libvirt does not see in 10 s that {name} is off")));
        }
    }
    Ok(())
}

/// The `real    0m 0.05s` that the shell printed, in milliseconds.
fn milliseconds(output: &str) -> Told<f64> {
    let line = output.lines().find_map(|line| line.strip_prefix("real")).unwrap_or_default();
    let (minutes, seconds) = line.split_once('m').unwrap_or_default();
    let parsed =
        minutes.trim().parse::<f64>().ok().zip(seconds.trim().trim_end_matches('s').parse::<f64>().ok());
    let parsed = parsed.map(|(minutes, seconds)| (minutes * 60.0 + seconds) * 1000.0);
    parsed.ok_or_else(|| Stumble::Wrong(format!("no time in {output:?}")))
}
