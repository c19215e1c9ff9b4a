//! The agent is killed in the middle of a reboot, or asked again about a guest that libvirt has forgotten.

use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Power, PowerState};
use fence_vmchannel_tests::asker::{request, target};
use fence_vmchannel_tests::rounds::rounds;
use fence_vmchannel_tests::{Agent, Asker, Dice, Guest, Lab, LabError, Result};

use super::PATIENCE;
use super::subject::told;

/// Waits for what makes no event that a test could hear.
fn until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        if Instant::now() > deadline {
            return Err(LabError::Supervisor(format!("waited in vain until {what}")));
        }
        thread::yield_now();
    }
    Ok(())
}

/// How many targets were seen off by orders that start them next.
fn offs_in_the_journal(lab: &Lab) -> usize {
    let journal = std::fs::read_to_string(lab.path("/run/fence-vmchannel/journal")).unwrap_or_default();
    journal.matches(r#""record":"off""#).count()
}

/// Waits until the agent has heard of it.
fn known(asker: &mut Asker<'_>, guest: &Guest<'_>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !asker.status(guest, PATIENCE)?.is_done() {
        if Instant::now() > deadline {
            return Err(LabError::Supervisor(format!("the agent does not hear of {}", guest.name())));
        }
    }
    Ok(())
}

#[test]
fn a_reboot_that_was_interrupted_between_off_and_on_is_completed_though_nobody_asks_again() -> Result<()> {
    let lab = Lab::start()?;
    let mut agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "mid1", "web")?;
    let plan = |name| Guest::named(name).in_cluster("web").cheap();
    let guests = [plan("mid2").start(&lab)?, plan("mid3").transient().start(&lab)?];

    for guest in &guests {
        known(&mut asker, guest)?;
        let (process, starts) = (guest.process()?, guest.starts());
        let reboot = request(Ask::Power(Power::Reboot, target(guest)?), PATIENCE)?;
        let noted = offs_in_the_journal(&lab);
        asker.peer().say(&reboot)?;
        process.wait_until_gone(PATIENCE)?;
        until("that is noted", || offs_in_the_journal(&lab) > noted)?; // libvirt's own stop goes on for 200 ms
        agent.restart()?;

        until("it runs again", || guest.is_running())?;
        asker.reconnect()?;
        let answer = asker.ask(&reboot)?;
        assert!(answer.is_done() && answer.verdict.state == Some(PowerState::On), "{answer:?}");
        assert_eq!(guest.starts() - starts, 1, "{} is started once", guest.name());
    }
    Ok(())
}

#[test]
fn who_asks_again_about_a_transient_guest_that_is_gone_hears_the_same() -> Result<()> {
    let lab = Lab::start()?;
    let mut agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "gone1", "web")?;
    let guest = Guest::named("gone2").in_cluster("web").transient().cheap().start(&lab)?;
    known(&mut asker, &guest)?;
    let off = request(Ask::Power(Power::Off, target(&guest)?), PATIENCE)?;
    let first = asker.ask(&off)?;
    assert!(first.is_done() && !guest.is_running(), "{first:?}");
    let is_listed = || lab.virsh(&["list", "--all", "--name"]).is_ok_and(|names| names.contains("gone2"));
    until("libvirt has forgotten it", || !is_listed())?;

    for _ in 0..2 {
        let again = asker.ask(&off)?;
        assert_eq!(told(&again.verdict), told(&first.verdict), "{again:?}");
        agent.restart()?;
        asker.reconnect()?;
    }
    Ok(())
}

#[test]
fn a_transient_guest_whose_reboot_is_interrupted_runs_again_or_the_verdict_is_no_success() -> Result<()> {
    let lab = Lab::start()?;
    let mut agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "rise1", "web")?;
    let guest = Guest::named("rise2").in_cluster("web").transient().cheap().start(&lab)?;
    let mut dice = Dice::cast()?;
    let mut failed = Vec::new();

    for round in 0..rounds(8) {
        known(&mut asker, &guest)?;
        let (process, starts) = (guest.process()?, guest.starts());
        let reboot = request(Ask::Power(Power::Reboot, target(&guest)?), PATIENCE)?;
        asker.peer().say(&reboot)?;
        thread::sleep(dice.between(Duration::ZERO, Duration::from_millis(500))); // the moment is the test
        agent.restart()?;
        asker.reconnect()?;

        let answer = asker.ask(&reboot)?;
        let gone = process.is_gone();
        assert!(gone || !answer.says_off(), "round {round}: false: {answer:?}");
        if answer.is_done() {
            assert!(guest.is_running() && guest.starts() == starts + 1, "round {round}: {answer:?}");
        } else {
            failed.push(format!("round {round}: {:?}", answer.verdict));
            until("it has stopped", || !guest.is_running())?;
            guest.start()?;
        }
    }

    println!(
        "{} failures: its end was not noted, and libvirt forgets where it went {failed:#?}",
        failed.len()
    );
    Ok(())
}
