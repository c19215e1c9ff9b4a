//! libvirtd dies, hangs and comes back at any moment of an order: nothing false is said, nothing is lost.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fence_vmchannel_protocol::{Evidence, Power};
use fence_vmchannel_tests::guest::Process;
use fence_vmchannel_tests::rounds::{Spread, rounds};
use fence_vmchannel_tests::{Agent, Asker, Dice, Guest, Lab, Result};

/// What a cluster would wait for a verdict.
const PATIENCE: Duration = Duration::from_secs(20);

/// The agent listens to 20 requests of a guest in a second.
const TURN: Duration = Duration::from_millis(55);

/// What happens to libvirtd.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Killed,
    Stopped,
    Restarted,
}

/// How one round goes: a blow, when it falls, how long libvirtd is away, and whether the target ignores SIGTERM.
#[derive(Debug, Clone, Copy)]
struct Fate {
    blow: Blow,
    /// [`LEAD`] is the moment of the request.
    at: Duration,
    away: Duration,
    stubborn: bool,
}

const LEAD: Duration = Duration::from_millis(100);
/// Longer than an order takes: libvirt's destroy, and the grace for a target that ignores SIGTERM.
const ORDER: Duration = Duration::from_millis(250);
const STUBBORN_ORDER: Duration = Duration::from_millis(1100);
/// Most orders are over so soon.
const HOT: Duration = Duration::from_millis(12);

fn fate(dice: &mut Dice) -> Fate {
    let blow = match dice.below(3) {
        0 => Blow::Killed,
        1 => Blow::Stopped,
        _ => Blow::Restarted,
    };
    let stubborn = dice.below(4) == 0;
    let end = LEAD + if stubborn { STUBBORN_ORDER } else { ORDER };
    let at = match dice.below(2) {
        0 => dice.between(LEAD - HOT, LEAD + HOT),
        _ => dice.between(Duration::ZERO, end),
    };
    Fate { blow, at, away: dice.between(Duration::ZERO, Duration::from_millis(1500)), stubborn }
}

/// Lets it happen, and heals libvirtd.
fn strike(lab: &Lab, fate: Fate) -> Result<()> {
    thread::sleep(fate.at); // the moment is the test
    match fate.blow {
        Blow::Killed => lab.libvirtd_kill()?,
        Blow::Stopped => lab.libvirtd_stop()?,
        Blow::Restarted => {
            lab.libvirtd_kill()?;
            return lab.libvirtd_start();
        }
    }
    thread::sleep(fate.away);
    if matches!(fate.blow, Blow::Killed) { lab.libvirtd_start() } else { lab.libvirtd_cont() }
}

/// Asks for the target's state until the round is over; it must never be "off" while the process lives.
fn witness(asker: &mut Asker<'_>, target: &Guest<'_>, process: &Process, over: &AtomicBool) -> Result<usize> {
    let mut asked = 0;
    while !over.load(Ordering::SeqCst) {
        let seen = asker.status(target, PATIENCE)?;
        assert!(process.is_gone() || !seen.says_off(), "false: {seen:?}");
        asked += 1;
        thread::sleep(TURN);
    }
    Ok(asked)
}

#[test]
fn whatever_happens_to_libvirtd_meanwhile_each_off_is_true_and_each_request_has_its_verdict() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start_with(&lab, "kill-after-seconds = 1\n")?;
    let mut asker = Asker::in_cluster(&lab, "chaos1", "web")?;
    let target = Guest::named("chaos2").in_cluster("web").cheap().define(&lab)?;
    let mut dice = Dice::cast()?;
    let mut other = Asker::in_cluster(&lab, "chaos3", "web")?;
    let (mut took, mut failed, mut seen) = (Vec::new(), Vec::new(), 0);

    for round in 0..rounds(12) {
        target.start()?;
        let process = target.process()?;
        let fate = fate(&mut dice);
        if fate.stubborn {
            process.stop()?;
        }
        let over = AtomicBool::new(false);
        let (answer, gone) = thread::scope(|scope| -> Result<_> {
            let struck = scope.spawn(|| strike(&lab, fate));
            let watched = scope.spawn(|| witness(&mut other, &target, &process, &over));
            thread::sleep(LEAD);
            let answer = asker.power(Power::Off, &target, PATIENCE);
            let gone = process.is_gone(); // at the very moment at which the client hears it
            let struck = struck.join();
            over.store(true, Ordering::SeqCst);
            seen += watched.join().unwrap()?;
            struck.unwrap()?;
            Ok((answer?, gone)) // one that is lost fails here
        })?;

        assert!(gone || !answer.says_off(), "round {round}, {fate:?}: false: {answer:?}");
        took.push(answer.took);
        if !answer.is_done() {
            failed.push(format!("round {round}, {fate:?}: {answer:?}"));
            let again = asker.power(Power::Off, &target, PATIENCE)?;
            assert!(again.is_done() && process.is_gone(), "once libvirtd is healed: {again:?}");
        }
        target.wait_until_shut_off()?;
    }

    println!("off while libvirtd is killed, stopped or restarted: {}", Spread::of(took));
    println!("0 false, 0 lost, {} ended as failures {failed:#?}; {seen} times status, 0 false", failed.len());
    Ok(())
}

#[test]
fn off_takes_milliseconds_while_libvirtd_is_dead() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "dead0", "web")?;
    let targets = (1..=rounds(20))
        .map(|number| Guest::named(&format!("dead{number}")).in_cluster("web").cheap().start(&lab))
        .collect::<Result<Vec<_>>>()?;
    let processes = targets.iter().map(Guest::process).collect::<Result<Vec<_>>>()?;
    lab.libvirtd_kill()?;

    let mut took = Vec::new();
    for (target, process) in targets.iter().zip(&processes) {
        let off = asker.power(Power::Off, target, PATIENCE)?;
        let gone = process.is_gone();
        assert!(off.is_done() && off.verdict.evidence == Some(Evidence::ProcessGone) && gone, "{off:?}");
        took.push(off.took);
        thread::sleep(TURN);
    }
    lab.libvirtd_start()?;

    let took = Spread::of(took);
    println!("off while libvirtd is dead: {took}; the goal is a p50 of 25 ms");
    assert!(took.median() < Duration::from_millis(500), "a bound for a busy machine: {took}");
    Ok(())
}

/// An off whose target does not react to SIGTERM, so that libvirt's destroy takes 10 s; libvirtd is struck in the middle.
fn struck_in_mid_destroy(name: &str, strike: impl Fn(&Lab) -> Result<()> + Sync) -> Result<Duration> {
    let lab = Lab::start()?;
    let _agent = Agent::start_with(&lab, "kill-after-seconds = 3\n")?;
    let mut asker = Asker::in_cluster(&lab, &format!("{name}1"), "web")?;
    let target = Guest::named(&format!("{name}2")).in_cluster("web").cheap().start(&lab)?;
    let process = target.process()?;
    process.stop()?;

    let off = thread::scope(|scope| -> Result<_> {
        let off =
            scope.spawn(|| asker.power(Power::Off, &target, PATIENCE).map(|off| (process.is_gone(), off)));
        thread::sleep(Duration::from_secs(1)); // the destroy is under way, and will be for long
        strike(&lab)?;
        off.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    lab.libvirtd_cont()?;

    let (gone, off) = off?;
    assert!(off.is_done() && off.verdict.evidence == Some(Evidence::ProcessGone) && gone, "{off:?}");
    Ok(off.took)
}

#[test]
fn a_libvirtd_that_is_restarted_in_mid_destroy_does_not_hold_up_the_off() -> Result<()> {
    let took = struck_in_mid_destroy("midk", |lab| {
        lab.libvirtd_kill()?;
        lab.libvirtd_start()
    })?;

    println!("libvirtd restarted 1 s after the request: off after {took:?}");
    assert!(
        took < Duration::from_secs(3),
        "its error brings the kill forward, before the grace of 3 s: {took:?}"
    );
    Ok(())
}

#[test]
fn a_libvirtd_that_hangs_in_mid_destroy_is_waited_for_until_the_grace_is_over() -> Result<()> {
    let took = struck_in_mid_destroy("mids", Lab::libvirtd_stop)?;

    println!("libvirtd stopped 1 s after the request, grace 3 s: off after {took:?}");
    assert!(
        took > Duration::from_millis(2900) && took < Duration::from_secs(4),
        "grace of 3 s + 1 s: {took:?}"
    );
    Ok(())
}
