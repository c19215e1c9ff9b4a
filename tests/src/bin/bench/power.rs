//! Power operations, one at a time.

use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Evidence, Power};
use virt::sys;

use crate::error::{Result, unexpected};
use crate::report::{Goal, Report, Row};
use crate::samples::{Samples, timed};
use crate::stage::{Stage, power};

const ROUNDS: usize = 24;
const PATIENCE: Duration = Duration::from_secs(30);

/// Off of a running guest: until somebody says so, and until its process is gone.
pub(crate) fn off(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    let [mut said, mut gone, mut direct_said, mut direct_gone] = [(); 4].map(|()| Samples::default());
    for _ in 0..ROUNDS {
        let ask = power(Power::Off, stage.guest()?)?;
        let (took, ended) = until_gone(stage, |stage| {
            let answer = stage.ask(ask)?;
            match answer.done()?.evidence {
                Some(Evidence::ProcessGone) => Ok(answer.took),
                other => Err(unexpected(format!("off is proven by {other:?}"))),
            }
        })?;
        push(&mut said, took, &mut gone, ended);
        let (took, ended) = until_gone(stage, |stage| {
            let domain = stage.domain(stage.guest()?)?;
            Ok(timed(|| domain.destroy())?.1)
        })?;
        push(&mut direct_said, took, &mut direct_gone, ended);
    }
    let goal = Goal::Within(Duration::from_millis(25));
    report.add(Row::new("off of a running domain, proven", said, "destroy", direct_said, goal));
    report.add(Row::new("the same, until its process is gone", gone, "destroy", direct_gone, Goal::None));
    Ok(())
}

fn push(said: &mut Samples, took: Duration, gone: &mut Samples, ended: Duration) {
    said.push(took);
    gone.push(ended);
}

/// Stops the running guest in this way, and watches its process: when it was said, when it was gone.
fn until_gone(
    stage: &mut Stage<'_>,
    stop: impl FnOnce(&mut Stage<'_>) -> Result<Duration>,
) -> Result<(Duration, Duration)> {
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
    Ok((said?, gone?))
}

/// On of a guest that is off.
pub(crate) fn on(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    let (mut ours, mut direct) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        stage.rest(stage.guest()?)?;
        let ask = power(Power::On, stage.guest()?)?;
        ours.push(done(stage, ask)?);
        stage.rest(stage.guest()?)?;
        let domain = stage.domain(stage.guest()?)?;
        direct.push(timed(|| domain.create())?.1);
    }
    report.add(Row::new("on", ours, "create", direct, Goal::None));
    Ok(())
}

/// Reboot of a running guest.
pub(crate) fn reboot(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    let (mut ours, mut direct) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        stage.rest(stage.guest()?)?;
        stage.run(stage.guest()?)?;
        let ask = power(Power::Reboot, stage.guest()?)?;
        ours.push(done(stage, ask)?);
        stage.rest(stage.guest()?)?;
        stage.run(stage.guest()?)?;
        let domain = stage.domain(stage.guest()?)?;
        let again = || {
            domain.destroy()?;
            domain.create_with_flags(sys::VIR_DOMAIN_START_FORCE_BOOT)
        };
        direct.push(timed(again)?.1);
    }
    report.add(Row::new("reboot", ours, "destroy + create", direct, Goal::Ratio(1.05)));
    Ok(())
}

fn done(stage: &mut Stage<'_>, ask: Ask) -> Result<Duration> {
    let answer = stage.ask(ask)?;
    answer.done()?;
    Ok(answer.took)
}
