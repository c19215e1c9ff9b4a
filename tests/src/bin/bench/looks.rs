//! Questions that change nothing: status and list.

use std::time::Duration;

use fence_vmchannel_protocol::{Ask, PowerState};
use virt::domain::Domain;
use virt::sys;

use crate::error::{Result, unexpected};
use crate::report::{Goal, Report, Row};
use crate::samples::{Samples, timed};
use crate::stage::{DOMAINS, SOME, Stage, target};

const ROUNDS: usize = 400;
const STATUS: Goal = Goal::Within(Duration::from_micros(100));
const LIST: Goal = Goal::Within(Duration::from_micros(500));

/// Status of one of a hundred domains: one that runs, one that does not.
pub(crate) fn status(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    one_status(stage, report, 0, PowerState::On, "status of a running domain")?;
    one_status(stage, report, SOME, PowerState::Off, "status of a domain that is off")
}

/// The list while most domains are off.
pub(crate) fn list(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    let what = format!("list, {SOME} of {DOMAINS} domains running");
    one_list(stage, report, &what)
}

/// Both again while all domains run.
pub(crate) fn all_running(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    one_status(stage, report, 0, PowerState::On, "status of a running domain, all running")?;
    one_list(stage, report, &format!("list, all {DOMAINS} domains running"))
}

fn one_status(
    stage: &mut Stage<'_>,
    report: &mut Report,
    guest: usize,
    expected: PowerState,
    what: &str,
) -> Result<()> {
    let guest = stage.guests.get(guest).ok_or_else(|| unexpected("there is no such guest"))?;
    let (target, uuid) = (target(guest)?, guest.uuid().to_owned());
    let (mut ours, mut direct) = (Samples::default(), Samples::default());
    for round in 0..ROUNDS {
        for agents_turn in order(round) {
            if agents_turn {
                let answer = stage.ask(Ask::Status(target.clone()))?;
                if answer.done()?.state != Some(expected) {
                    return Err(unexpected(format!("{what}: {:?}", answer.body)));
                }
                ours.push(answer.took);
            } else {
                let look = || Domain::lookup_by_uuid_string(&stage.libvirt, &uuid)?.get_info();
                direct.push(timed(look)?.1);
            }
        }
    }
    report.add(Row::new(what, ours, "lookup + info", direct, STATUS));
    Ok(())
}

fn one_list(stage: &mut Stage<'_>, report: &mut Report, what: &str) -> Result<()> {
    let (mut ours, mut stats, mut listing) = (Samples::default(), Samples::default(), Samples::default());
    for round in 0..ROUNDS {
        for agents_turn in order(round) {
            if agents_turn {
                let answer = stage.ask(Ask::List)?;
                if answer.listed != DOMAINS {
                    return Err(unexpected(format!("{what}: {} domains are listed", answer.listed)));
                }
                ours.push(answer.took);
            } else {
                let state = sys::VIR_DOMAIN_STATS_STATE;
                stats.push(timed(|| stage.libvirt.get_all_domain_stats(state, 0))?.1);
                listing.push(timed(|| stage.libvirt.list_all_domains(0))?.1);
            }
        }
    }
    report.add(Row::new(what, ours.clone(), "getAllDomainStats(state)", stats, LIST));
    report.add(Row::new(what, ours, "listAllDomains, no states", listing, LIST));
    Ok(())
}

/// Who goes first changes with each round, so that nobody always finds the machine awake.
fn order(round: usize) -> [bool; 2] {
    if round.is_multiple_of(2) { [true, false] } else { [false, true] }
}
