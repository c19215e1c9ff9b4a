//! Many at once: each asker stops another guest at the same moment.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::Power;
use virt::connect::Connect;
use virt::domain::Domain;

use crate::askers::ASKERS;
use crate::error::{Result, unexpected};
use crate::report::{Goal, Report, Row};
use crate::samples::Samples;
use crate::stage::{SOME, Stage, connect, power};

const ROUNDS: usize = 5;

/// As many offs as there are askers; until each is said, and until the last is.
pub(crate) fn offs(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    let connections: Vec<Connect> = (0..SOME).map(|_| connect(stage.lab)).collect::<Result<_>>()?;
    let [mut each, mut last, mut direct_each, mut direct_last] = [(); 4].map(|()| Samples::default());
    for _ in 0..ROUNDS {
        stage.start_some()?;
        let asks = stage.guests.iter().take(SOME).map(|guest| power(Power::Off, guest));
        let asks = asks.collect::<Result<Vec<_>>>()?;
        let work = stage.askers.iter_mut().zip(asks);
        let took = together(work.map(|(asker, ask)| move || asker.ask(ask)?.done().map(drop)))?;
        push(&mut each, &mut last, &took);
        stage.guests.iter().take(SOME).try_for_each(|guest| stage.rest(guest))?;

        stage.start_some()?;
        let domains = connections.iter().zip(&stage.guests);
        let domains = domains.map(|(connect, guest)| Domain::lookup_by_uuid_string(connect, guest.uuid()));
        let domains = domains.collect::<std::result::Result<Vec<_>, _>>()?;
        let took = together(domains.iter().map(|domain| move || Ok(domain.destroy()?)))?;
        push(&mut direct_each, &mut direct_last, &took);
        stage.guests.iter().take(SOME).try_for_each(|guest| stage.rest(guest))?;
    }
    let what = format!("{ASKERS} guests stop {SOME} others at once: each");
    report.add(Row::new(&what, each, "20 connections", direct_each, Goal::None));
    let goal = Goal::Within(Duration::from_millis(250));
    report.add(Row::new("the same: the last of them", last, "20 connections", direct_last, goal));
    Ok(())
}

fn push(each: &mut Samples, last: &mut Samples, took: &[Duration]) {
    took.iter().for_each(|took| each.push(*took));
    took.iter().max().into_iter().for_each(|took| last.push(*took));
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
