//! Power operations, one at a time.

use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Evidence, Power};
use fence_vmchannel_tests::Lab;
use virt::sys;

use crate::error::{Result, unexpected};
use crate::goals::Goal;
use crate::legacy::Operation;
use crate::looks::{Turn, order};
use crate::report::{Report, Row};
use crate::samples::{Samples, timed};
use crate::sections::Size;
use crate::stage::{Cast, Stage, power};

const PATIENCE: Duration = Duration::from_secs(30);
const OFF: Goal = Goal::within(
    Duration::from_millis(25),
    "this host takes long to end a QEMU, whoever does it: see `off, until the process is gone`",
);
const REBOOT: Goal = Goal::ratio(1.05, "noise of the starts, which are nearly all of it: see `on`");
const TEXT: &str = "\
`off` is measured twice: until somebody says so, and until the target's process is gone, by a pidfd of the bench's own.
The agent's word comes after that end, fence_virtd's and libvirt's own up to 200 ms later.";

/// Off, on and reboot.
pub(crate) fn measure(size: Size, report: &mut Report) -> Result<()> {
    let lab = Lab::start()?;
    let mut stage = Stage::set(&lab, Cast { askers: size.of(4, 2), guests: size.of(20, 1) }, size)?;
    let rounds = size.of(20, 1);
    report.chapter("Power", TEXT);
    off(&mut stage, report, rounds)?;
    on(&mut stage, report, rounds)?;
    reboot(&mut stage, report, rounds)
}

/// Off of a running guest: until somebody says so, and until its process is gone.
fn off(stage: &mut Stage<'_>, report: &mut Report, rounds: usize) -> Result<()> {
    let [mut ours, mut theirs, mut direct] = [(); 3].map(|()| <[Samples; 2]>::default());
    for round in 0..rounds {
        for turn in order(round) {
            let both = until_gone(stage, |stage| off_by(stage, turn))?;
            let samples = match turn {
                Turn::Agent => &mut ours,
                Turn::Incumbent => &mut theirs,
                Turn::Direct => &mut direct,
            };
            samples.iter_mut().zip(both).for_each(|(samples, took)| samples.push(took));
        }
    }
    let ([said, gone], [their_said, their_gone]) = (ours, theirs);
    let [direct_said, direct_gone] = direct;
    report.add(
        Row::new("off, running", said)
            .incumbent(their_said)
            .direct("destroy", direct_said)
            .goal(OFF)
            .plotted("off"),
    );
    let gone = Row::new("off, until the process is gone", gone);
    report.add(gone.incumbent(their_gone).direct("destroy", direct_gone));
    Ok(())
}

fn off_by(stage: &mut Stage<'_>, turn: Turn) -> Result<Duration> {
    match turn {
        Turn::Agent => {
            let answer = stage.ask(power(Power::Off, stage.guest()?)?)?;
            match answer.done()?.evidence {
                Some(Evidence::ProcessGone) => Ok(answer.took),
                other => Err(unexpected(format!("off is proven by {other:?}"))),
            }
        }
        Turn::Incumbent => incumbent(stage, Operation::Off),
        Turn::Direct => {
            let domain = stage.domain(stage.guest()?)?;
            Ok(timed(|| domain.destroy())?.1)
        }
    }
}

/// Stops the running guest in this way, and watches its process: when it was said, when it was gone.
fn until_gone(
    stage: &mut Stage<'_>,
    stop: impl FnOnce(&mut Stage<'_>) -> Result<Duration>,
) -> Result<[Duration; 2]> {
    stage.run(stage.guest()?)?;
    let process = stage.guest()?.process()?;
    let begun = Instant::now();
    let (said, gone) = thread::scope(|scope| {
        let watch = scope.spawn(|| process.wait_until_gone(PATIENCE).map(|()| begun.elapsed()));
        let said = stop(stage);
        (said, watch.join())
    });
    let gone = gone.map_err(|_| unexpected("the watch of a process panicked"))?;
    stage.rest(stage.guest()?)?;
    Ok([said?, gone?])
}

/// On of a guest that is off.
fn on(stage: &mut Stage<'_>, report: &mut Report, rounds: usize) -> Result<()> {
    let [mut ours, mut theirs, mut direct] = [(); 3].map(|()| Samples::default());
    for round in 0..rounds {
        for turn in order(round) {
            stage.rest(stage.guest()?)?;
            match turn {
                Turn::Agent => ours.push(done(stage, Power::On)?),
                Turn::Incumbent => theirs.push(incumbent(stage, Operation::On)?),
                Turn::Direct => {
                    let domain = stage.domain(stage.guest()?)?;
                    direct.push(timed(|| domain.create())?.1);
                }
            }
        }
    }
    report.add(Row::new("on", ours).incumbent(theirs).direct("create", direct).plotted("on"));
    Ok(())
}

/// Reboot of a running guest.
fn reboot(stage: &mut Stage<'_>, report: &mut Report, rounds: usize) -> Result<()> {
    let [mut ours, mut theirs, mut direct] = [(); 3].map(|()| Samples::default());
    for round in 0..rounds {
        for turn in order(round) {
            stage.rest(stage.guest()?)?;
            stage.run(stage.guest()?)?;
            match turn {
                Turn::Agent => ours.push(done(stage, Power::Reboot)?),
                Turn::Incumbent => theirs.push(incumbent(stage, Operation::Reboot)?),
                Turn::Direct => {
                    let domain = stage.domain(stage.guest()?)?;
                    let again = || {
                        domain.destroy()?;
                        domain.create_with_flags(sys::VIR_DOMAIN_START_FORCE_BOOT)
                    };
                    direct.push(timed(again)?.1);
                }
            }
        }
    }
    report.add(
        Row::new("reboot", ours)
            .incumbent(theirs)
            .direct("destroy + create", direct)
            .goal(REBOOT)
            .plotted("reboot"),
    );
    Ok(())
}

fn done(stage: &mut Stage<'_>, what: Power) -> Result<Duration> {
    let ask = power(what, stage.guest()?)?;
    let answer = stage.ask(ask)?;
    answer.done()?;
    Ok(answer.took)
}

fn incumbent(stage: &mut Stage<'_>, what: Operation) -> Result<Duration> {
    let name = stage.guest()?.name().to_owned();
    Ok(stage.incumbent.expect(what, &name, 0)?.took)
}
