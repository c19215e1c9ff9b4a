//! The journal on a real file system: full, torn, full of garbage, unreadable.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use fence_vmchannel_protocol::{Ask, Evidence, Power, Reason, Ruling};
use fence_vmchannel_tests::asker::{request, target};
use fence_vmchannel_tests::rounds::rounds;
use fence_vmchannel_tests::{Agent, Answer, Asker, Dice, Guest, Lab, LabError, Result, programs};

const PATIENCE: Duration = Duration::from_secs(20);
const RUNTIME: &str = "/run/fence-vmchannel";
/// A runtime directory of this size is filled soon.
const SIZE: &str = "size=1m,mode=0755";

fn journal(lab: &Lab) -> PathBuf {
    lab.inside(&format!("{RUNTIME}/journal"))
}

/// A runtime directory with little room.
fn little_room(lab: &Lab) -> Result<()> {
    programs::succeed(lab.command("mkdir").args(["--parents", RUNTIME]))?;
    programs::succeed(lab.command("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs", RUNTIME])).map(drop)
}

/// What takes all the room that is left.
fn filler(lab: &Lab) -> PathBuf {
    lab.inside(&format!("{RUNTIME}/filler"))
}

fn is_refused_for_the_journal(answer: &Answer) -> bool {
    let detail = answer.verdict.detail.as_deref().unwrap_or_default();
    let is_clear = detail.contains("journal") && detail.contains("make room");
    answer.verdict.ruling == Ruling::Failed(Reason::Busy) && is_clear
}

/// Off and on in turn, until the journal's last page is full too.
fn until_nothing_can_be_written(asker: &mut Asker<'_>, guest: &Guest<'_>) -> Result<()> {
    for _ in 0..40 {
        let (runs, starts) = (guest.is_running(), guest.starts());
        let power = if runs { Power::Off } else { Power::On };
        let answer = asker.power(power, guest, PATIENCE)?;
        if is_refused_for_the_journal(&answer) {
            assert_eq!((guest.is_running(), guest.starts()), (runs, starts), "nothing was done");
            return Ok(());
        }
        assert!(answer.is_done(), "{answer:?}");
        assert_eq!(guest.is_running(), !runs, "{answer:?}");
    }
    Err(LabError::Supervisor("there is still room in the journal".into()))
}

#[test]
fn on_a_full_disk_nothing_is_done_and_the_failure_says_why_and_with_room_it_works_again() -> Result<()> {
    let lab = Lab::start()?;
    little_room(&lab)?;
    let mut agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "full1", "web")?;
    let guest = Guest::named("full2").in_cluster("web").cheap().start(&lab)?;
    let first = request(Ask::Power(Power::Off, target(&guest)?), PATIENCE)?;
    let told = asker.ask(&first)?;
    assert!(told.is_done() && !guest.is_running(), "{told:?}");
    let mode = fs::metadata(journal(&lab)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it tells who fenced whom, and how to start it");

    let full = fs::write(filler(&lab), vec![0; 2 << 20]).expect_err("there is an end");
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    guest.wait_until_shut_off()?;
    guest.start()?;
    let process = guest.process()?;
    let interrupted = request(Ask::Power(Power::Off, target(&guest)?), PATIENCE)?;
    asker.peer().say(&interrupted)?;
    std::thread::sleep(Duration::from_millis(30)); // in the middle of the order
    agent.restart()?;
    asker.reconnect()?;
    let answer = asker.ask(&interrupted)?;
    let gone = process.is_gone();
    assert!(gone && answer.is_done() || is_refused_for_the_journal(&answer), "{answer:?}");
    until_nothing_can_be_written(&mut asker, &guest)?;
    let status = asker.status(&guest, PATIENCE)?;
    assert!(status.is_done(), "who only looks is answered: {status:?}");
    asker.peer().ask(&request(Ask::List, PATIENCE)?, PATIENCE)?;

    agent.restart()?;
    asker.reconnect()?;
    let again = asker.ask(&first)?;
    assert_eq!(again.verdict.evidence, Some(Evidence::ProcessGone), "what was told is told again: {again:?}");
    until_nothing_can_be_written(&mut asker, &guest)?;

    fs::remove_file(filler(&lab)).unwrap();
    for _ in 0..2 {
        let power = if guest.is_running() { Power::Off } else { Power::On };
        let answer = asker.power(power, &guest, PATIENCE)?;
        assert!(answer.is_done(), "with room again, without a restart: {answer:?}");
        assert_eq!(guest.is_running(), power == Power::On, "{answer:?}");
    }
    let mode = fs::metadata(journal(&lab)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "also of one that was written anew");
    Ok(())
}

/// What happens to the journal while no agent runs.
fn hurt(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let place = usize::try_from(dice.below(length)).unwrap_or(0);
    let mut garbage = || dice.below(256).to_le_bytes().first().copied().unwrap_or(0);
    match length % 3 {
        0 => bytes.truncate(place),
        1 => bytes.iter_mut().skip(place).take(20).for_each(|byte| *byte = garbage()),
        _ => bytes.iter_mut().for_each(|byte| *byte = garbage()),
    }
}

#[test]
fn a_torn_journal_or_one_of_garbage_keeps_no_agent_from_starting_and_makes_nobody_off() -> Result<()> {
    let lab = Lab::start()?;
    let mut agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "torn1", "web")?;
    let guest = Guest::named("torn2").in_cluster("web").cheap().define(&lab)?;
    let mut dice = Dice::cast()?;

    for round in 0..rounds(10) {
        guest.start()?;
        let process = guest.process()?;
        let off = request(Ask::Power(Power::Off, target(&guest)?), PATIENCE)?;
        asker.peer().say(&off)?;
        std::thread::sleep(dice.between(Duration::ZERO, Duration::from_millis(60))); // the moment is the test
        agent.kill();
        if let Ok(mut bytes) = fs::read(journal(&lab)) {
            hurt(&mut dice, &mut bytes);
            fs::write(journal(&lab), bytes).unwrap();
        }
        agent.restart()?;
        asker.reconnect()?;

        let mut answer = asker.ask(&off)?;
        // What the journal still knows of an order is seen to first.
        while answer.verdict.ruling == Ruling::Refused(Reason::Busy) {
            std::thread::sleep(Duration::from_millis(20)); // as long as another order is open
            answer = asker.ask(&off)?;
        }
        assert!(answer.is_done() && process.is_gone(), "round {round}: {answer:?}");
        guest.wait_until_shut_off()?;
    }
    Ok(())
}

#[test]
fn an_agent_that_cannot_read_its_journal_does_not_start_and_says_what_to_do() -> Result<()> {
    let lab = Lab::start()?;
    fs::create_dir_all(journal(&lab)).unwrap(); // root may read every file, but not a directory

    let error =
        Agent::start(&lab).map(drop).expect_err("it must not act without knowing what it did").to_string();

    assert!(
        error.contains("cannot read the journal") && error.contains("Make it readable, or remove it"),
        "{error}"
    );
    Ok(())
}
