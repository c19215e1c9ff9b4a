//! Questions that change nothing: status and list.

use std::time::Duration;

use fence_vmchannel_protocol::{Ask, PowerState};
use fence_vmchannel_tests::Lab;
use virt::domain::Domain;
use virt::sys;

use crate::error::{Result, unexpected};
use crate::goals::{Goal, Judged};
use crate::legacy::Operation;
use crate::memory::{Held, load};
use crate::report::{Holding, Report, Row};
use crate::samples::{Samples, timed};
use crate::sections::Size;
use crate::stage::{Cast, Stage, target, uri};

const SLOWER: &str = "the machine is slower than the one of the goal, where a direct lookup + info took 0.17 ms: see `directly` below";
const STATUS: Goal = Goal::within(Duration::from_micros(100), SLOWER);
const LIST: Goal = Goal::within(Duration::from_micros(500), SLOWER);
const ON: u8 = 0;
const OFF: u8 = 2;
/// Goal for the agent's RSS with a hundred real VMs.
const RESIDENT_KIB: usize = 16 * 1024;
const IDLE: Duration = Duration::from_secs(3);

/// With one domain that runs, beside one asker of each daemon.
pub(crate) fn with_few(size: Size, report: &mut Report) -> Result<()> {
    let lab = Lab::start()?;
    let cast = Cast { askers: 1, guests: 1 };
    let mut stage = Stage::set(&lab, cast, size)?;
    report.chapter("Questions, with one domain", "One domain runs, beside one for each daemon's asker.");
    stage.start(1)?;
    let rounds = size.of(100, 5);
    one_status(
        &mut stage,
        report,
        rounds,
        (0, PowerState::On),
        "status of a running domain, 1 domain",
        None,
    )?;
    one_list(&mut stage, report, rounds, cast, "list, 1 domain", None)
}

/// With a hundred domains.
pub(crate) fn with_many(size: Size, report: &mut Report) -> Result<()> {
    let lab = Lab::start()?;
    let cast = Cast { askers: size.of(20, 2), guests: size.of(60, 4) };
    let mut stage = Stage::set(&lab, cast, size)?;
    report.chapter("Questions, with a hundred domains", "");
    let (rounds, some) = (size.of(400, 5), cast.guests / 3);
    stage.start(some)?;
    let guests = [(0, PowerState::On, "running"), (some, PowerState::Off, "stopped")];
    for (guest, state, word) in guests {
        let what = format!("status of a {word} domain, {} domains", cast.domains());
        one_status(&mut stage, report, rounds, (guest, state), &what, Some(STATUS))?;
    }
    stage.start(cast.guests)?;
    let what = format!("list, {} domains", cast.domains());
    one_list(&mut stage, report, rounds, cast, &what, Some(LIST))?;
    held(&stage, cast, size, report)
}

fn one_status(
    stage: &mut Stage<'_>,
    report: &mut Report,
    rounds: usize,
    (guest, expected): (usize, PowerState),
    what: &str,
    goal: Option<Goal>,
) -> Result<()> {
    let guest = stage.guests.get(guest).ok_or_else(|| unexpected("there is no such guest"))?;
    let (target, name, uuid) = (target(guest)?, guest.name().to_owned(), guest.uuid().to_owned());
    let says = if expected == PowerState::On { ON } else { OFF };
    let [mut ours, mut theirs, mut direct] = [(); 3].map(|()| Samples::default());
    for round in 0..rounds {
        for turn in order(round) {
            match turn {
                Turn::Agent => {
                    let answer = stage.ask(Ask::Status(target.clone()))?;
                    if answer.done()?.state != Some(expected) {
                        return Err(unexpected(format!("{what}: {:?}", answer.body)));
                    }
                    ours.push(answer.took);
                }
                Turn::Incumbent => theirs.push(stage.incumbent.expect(Operation::Status, &name, says)?.took),
                Turn::Direct => {
                    let look = || Domain::lookup_by_uuid_string(&stage.libvirt, &uuid)?.get_info();
                    direct.push(timed(look)?.1);
                }
            }
        }
    }
    let row = Row::new(what, ours).incumbent(theirs).direct("lookup + info", direct);
    report.add(match goal {
        Some(goal) if expected == PowerState::On => row.goal(goal).plotted("status"),
        Some(goal) => row.goal(goal),
        None => row,
    });
    Ok(())
}

fn one_list(
    stage: &mut Stage<'_>,
    report: &mut Report,
    rounds: usize,
    cast: Cast,
    what: &str,
    goal: Option<Goal>,
) -> Result<()> {
    // the agent's askers may not see those of fence_virtd, which are in no cluster
    let (visible, all) = (cast.askers + cast.guests, cast.domains());
    let [mut ours, mut theirs, mut stats] = [(); 3].map(|()| Samples::default());
    for round in 0..rounds {
        for turn in order(round) {
            match turn {
                Turn::Agent => {
                    let answer = stage.ask(Ask::List)?;
                    counted(what, answer.listed, visible)?;
                    ours.push(answer.took);
                }
                Turn::Incumbent => {
                    let said = stage.incumbent.expect(Operation::List, "", ON)?;
                    counted(what, said.listed, all)?;
                    theirs.push(said.took);
                }
                Turn::Direct => {
                    let state = sys::VIR_DOMAIN_STATS_STATE;
                    stats.push(timed(|| stage.libvirt.get_all_domain_stats(state, 0))?.1);
                }
            }
        }
    }
    let row = Row::new(what, ours).incumbent(theirs).direct("getAllDomainStats(state)", stats);
    report.add(match goal {
        Some(goal) => row.goal(goal).plotted("list"),
        None => row,
    });
    Ok(())
}

fn counted(what: &str, listed: usize, expected: usize) -> Result<()> {
    if listed == expected {
        return Ok(());
    }
    Err(unexpected(format!("{what}: {listed} domains are listed, not {expected}")))
}

/// What both daemons hold now that all domains run.
fn held(stage: &Stage<'_>, cast: Cast, size: Size, report: &mut Report) -> Result<()> {
    let idle = [stage.agent.pid(), stage.incumbent.pid()].map(|pid| load(pid, size.span(IDLE)).ok());
    let [our_idle, their_idle] = idle;
    let (ours, theirs) = (Held::by(stage.agent.pid())?, Held::by(stage.incumbent.pid())?);
    let bare = Held::by_a_connection(&uri(stage.lab, "qemu", "/system"))?;
    let (channels, theirs_are) = (cast.askers + cast.guests, cast.askers);
    let mut holds = |(channels, connected), who, held, idle| {
        report.holds(Holding { channels, connected, who, held: Ok(held), idle });
    };
    holds((channels, channels), "agent, real VMs", ours, our_idle);
    holds((theirs_are, theirs_are), "fence_virtd, real VMs", theirs, their_idle);
    holds((0, 0), "only a connection, real VMs", bare, None);
    report.judge(Judged {
        what: format!("memory, {} VMs (RSS)", cast.domains()),
        incumbent: format!("{} KiB", theirs.resident),
        ours: format!("{} KiB, {} of them anonymous", ours.resident, ours.anonymous),
        goal: format!("<= {RESIDENT_KIB} KiB"),
        is_met: ours.resident <= RESIDENT_KIB,
        otherwise: format!(
            "a process that only holds a connection to libvirt has {} KiB already; the agent's own memory is the anonymous part",
            bare.resident
        ),
    });
    Ok(())
}

/// Who is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turn {
    Agent,
    Incumbent,
    Direct,
}

/// Who goes first changes with each round, so that nobody always finds the machine awake.
pub(crate) fn order(round: usize) -> impl Iterator<Item = Turn> {
    const TURNS: [Turn; 3] = [Turn::Agent, Turn::Incumbent, Turn::Direct];
    TURNS.into_iter().cycle().skip(round % TURNS.len()).take(TURNS.len())
}
