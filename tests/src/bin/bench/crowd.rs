//! Many at once: each asker stops or reboots another guest at the same moment.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::Power;
use fence_vmchannel_tests::Lab;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use crate::error::{Result, unexpected};
use crate::goals::Goal;
use crate::legacy::Operation;
use crate::report::{Report, Row};
use crate::samples::Samples;
use crate::sections::Size;
use crate::stage::{Cast, Stage, connect, power};

const OFFS: Goal =
    Goal::within(Duration::from_millis(250), "the machine was not quiet: see p99 and the load");
const REBOOTS: Goal = Goal::ratio(1.1, "noise of the starts, which share two cores: see the spread of p99");

/// Until each is said, and until the last is.
#[derive(Default)]
struct Rounds {
    each: Samples,
    last: Samples,
}

impl Rounds {
    fn add(&mut self, took: &[Duration]) {
        self.each.extend(took.iter().copied());
        self.last.extend(took.iter().max().copied());
    }
}

/// As many offs and reboots as there are askers.
pub(crate) fn measure(size: Size, report: &mut Report) -> Result<()> {
    let lab = Lab::start()?;
    let many = size.of(20, 2);
    let mut stage = Stage::set(&lab, Cast { askers: many, guests: many }, size)?;
    let connections: Vec<Connect> = (0..many).map(|_| connect(&lab)).collect::<Result<_>>()?;
    report.chapter(
        "Many at once",
        "Each asker has a target of its own; the direct calls have a connection each.",
    );
    let plan =
        [("offs", Power::Off, size.of(4, 1), size.of(2, 1)), ("reboots", Power::Reboot, size.of(3, 1), 1)];
    for (word, what, rounds, their_rounds) in plan {
        let [mut ours, mut theirs, mut direct] = [(); 3].map(|()| Rounds::default());
        for round in 0..rounds {
            stage.start(many)?;
            ours.add(&by_the_agent(&mut stage, what)?);
            stage.stop(many)?;
            if round < their_rounds {
                stage.start(many)?;
                theirs.add(&by_the_incumbent(&mut stage, what)?);
                stage.stop(many)?;
            }
            stage.start(many)?;
            direct.add(&directly(&stage, &connections, what)?);
            stage.stop(many)?;
        }
        let goal = if what == Power::Off { OFFS } else { REBOOTS };
        let how = if what == Power::Off { "destroy" } else { "destroy + create" };
        let each = Row::new(format!("{many} {word} at once: each"), ours.each);
        report.add(each.incumbent(theirs.each).direct(how, direct.each));
        let last = Row::new(format!("{many} {word} at once: the last"), ours.last);
        report.add(
            last.incumbent(theirs.last).direct(how, direct.last).goal(goal).plotted(format!("{many} {word}")),
        );
    }
    Ok(())
}

fn by_the_agent(stage: &mut Stage<'_>, what: Power) -> Result<Vec<Duration>> {
    let asks = stage.guests.iter().map(|guest| power(what, guest)).collect::<Result<Vec<_>>>()?;
    let work = stage.askers.iter_mut().zip(asks);
    together(work.map(|(asker, ask)| move || asker.ask(ask)?.done().map(drop)))
}

fn by_the_incumbent(stage: &mut Stage<'_>, what: Power) -> Result<Vec<Duration>> {
    let operation = if what == Power::Off { Operation::Off } else { Operation::Reboot };
    let work = stage.incumbent.lines.iter_mut().zip(&stage.guests);
    together(work.map(|(line, guest)| move || line.expect(operation, guest.name(), 0).map(drop)))
}

fn directly(stage: &Stage<'_>, connections: &[Connect], what: Power) -> Result<Vec<Duration>> {
    let domains = connections.iter().zip(&stage.guests);
    let domains = domains.map(|(connect, guest)| Domain::lookup_by_uuid_string(connect, guest.uuid()));
    let domains = domains.collect::<std::result::Result<Vec<_>, _>>()?;
    together(domains.iter().map(|domain| {
        move || {
            domain.destroy()?;
            if what == Power::Reboot {
                domain.create_with_flags(sys::VIR_DOMAIN_START_FORCE_BOOT)?;
            }
            Ok(())
        }
    }))
}

/// Does all of it at the same moment, and says when each was done.
fn together<W: FnOnce() -> Result<()> + Send>(
    work: impl ExactSizeIterator<Item = W>,
) -> Result<Vec<Duration>> {
    let ready = Barrier::new(work.len());
    thread::scope(|scope| {
        let begin = |work: W| {
            scope.spawn(|| {
                ready.wait();
                let begun = Instant::now();
                work().map(|()| begun.elapsed())
            })
        };
        let running: Vec<_> = work.map(begin).collect();
        let ended = running.into_iter().map(|thread| thread.join());
        ended.map(|ended| ended.map_err(|_| unexpected("a round's thread panicked"))?).collect()
    })
}
