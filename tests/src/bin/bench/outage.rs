//! While libvirtd is dead, and after its return.
//!
//! In:  a lab whose libvirtd is killed. Out: how long `off` takes meanwhile, and how soon a new VM is served afterwards.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Evidence, Power};
use fence_vmchannel_tests::{Channel, Guest, Lab};
use virt::domain::Domain;
use virt::sys;

use crate::askers::CLUSTER;
use crate::error::{Result, unexpected};
use crate::goals::Goal;
use crate::incumbent;
use crate::legacy::Operation;
use crate::report::{Report, Row};
use crate::samples::{Samples, timed};
use crate::sections::Size;
use crate::stage::{Cast, Stage, connect, power, wait_until};

const OFF: Goal = Goal::within(Duration::from_millis(25), "the machine was not quiet: see p99 and the load");
const SERVED: Goal =
    Goal::within(Duration::from_secs(2), "libvirtd is slow in its first seconds: see the load");
/// How long fence_virtd is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Kills libvirtd, asks both daemons for `off`, and starts libvirtd again.
pub(crate) fn measure(size: Size, report: &mut Report) -> Result<()> {
    let lab = Lab::start()?;
    let rounds = size.of(10, 1);
    let mut stage = Stage::set(&lab, Cast { askers: 2, guests: rounds + 1 }, size)?;
    stage.start(rounds + 1)?;
    report.chapter(
        "libvirtd dies",
        "libvirtd is killed (SIGKILL) while all guests run, and started again afterwards.",
    );
    lab.libvirtd_kill()?;
    let mut ours = Samples::default();
    for number in 0..rounds {
        let guest = stage.guests.get(number).ok_or_else(|| unexpected("there is no such guest"))?;
        let answer = stage.ask(power(Power::Off, guest)?)?;
        match answer.done()?.evidence {
            Some(Evidence::ProcessGone) => ours.push(answer.took),
            other => return Err(unexpected(format!("off is proven by {other:?}"))),
        }
    }
    let theirs = fallen_silent(&mut stage, rounds, size.span(PATIENCE))?;
    report.add(Row::new("off while libvirtd is dead", ours).incumbent_never(theirs).goal(OFF));
    lab.libvirtd_start()?;
    after(&stage, size.span(PATIENCE), report)
}

/// What fence_virtd says to an `off` of the guest with this number.
fn fallen_silent(stage: &mut Stage<'_>, number: usize, patience: Duration) -> Result<String> {
    let guest = stage.guests.get(number).ok_or_else(|| unexpected("there is no such guest"))?;
    let line = stage.incumbent.lines.first_mut().ok_or_else(|| unexpected("fence_virtd has no asker"))?;
    let said = line.ask(Operation::Off, guest.name(), patience)?;
    let lives = if guest.is_running() { "it lives" } else { "it is gone" };
    Ok(match said {
        None => format!("no answer in {} s, {lives}", patience.as_secs()),
        Some(said) => format!("result {} after {} s, {lives}", said.result, said.took.as_secs()),
    })
}

/// How soon each of them serves a VM that is defined after libvirtd's return; the VM's own start does not count.
fn after(stage: &Stage<'_>, patience: Duration, report: &mut Report) -> Result<()> {
    let begun = Instant::now();
    let plan = Guest::named("late").in_cluster(CLUSTER).with(Channel::VirtioConnect).cheap();
    let guest = plan.define(stage.lab)?;
    let path = stage.lab.path(&format!("/run/fence-vmchannel/guests/{}.sock", guest.uuid()));
    wait_until("the agent's socket", || Ok(path.exists()))?;
    let start = timed(|| guest.start())?.1;
    stage.agent.wait_for_log(&["served", "domain=late"], PATIENCE)?;
    let ours = begun.elapsed().saturating_sub(start);

    let begun = Instant::now();
    let domain = Domain::define_xml(&connect(stage.lab)?, &incumbent::asker_xml("later"))?;
    let start = timed(|| domain.create_with_flags(sys::VIR_DOMAIN_START_PAUSED))?.1;
    let theirs = served(stage, &format!("{}/later.sock", incumbent::SOCKETS), patience)?;
    let took = begun.elapsed().saturating_sub(start);
    domain.destroy()?;

    let row = Row::new("libvirtd is back, until a new VM is served", Samples::from_iter([ours])).goal(SERVED);
    report.add(if theirs {
        row.incumbent(Samples::from_iter([took]))
    } else {
        row.incumbent_never(format!("never (waited {} s)", patience.as_secs()))
    });
    Ok(())
}

/// Whether somebody is connected to this socket of QEMU's within `patience`, in the lab's network namespace.
fn served(stage: &Stage<'_>, path: &str, patience: Duration) -> Result<bool> {
    const CONNECTED: &str = "03";
    let table = format!("/proc/{}/net/unix", stage.lab.libvirtd_pid()?);
    let until = Instant::now() + patience;
    while Instant::now() < until {
        let is_connected = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(5) == Some(&CONNECTED) && words.get(7) == Some(&path)
        };
        if fs::read_to_string(&table)?.lines().any(is_connected) {
            return Ok(true);
        }
        sleep(LOOK_AGAIN);
    }
    Ok(false)
}
