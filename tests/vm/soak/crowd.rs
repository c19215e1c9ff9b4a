//! Those who ask: most look, some fence, one is rude.
//!
//! In:  askers. Out: counts, and violations.

use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Body, Power, PowerState, Reason, Ruling};
use fence_vmchannel_tests::asker::{request, target};
use fence_vmchannel_tests::guest::Process;
use fence_vmchannel_tests::{Answer, Asker, Channel, Dice, Guest, LabError, Peer, Result};

use super::{Counts, Soak};

/// What a cluster would wait for a verdict.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whoever has no verdict by then, however often it asked, has lost it.
const LOST: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(5);
/// One who looks does so so often.
const LOOKS: Duration = Duration::from_millis(120);
/// One who fences waits so long between.
const FENCES: Duration = Duration::from_millis(700);

/// Looks again and again. The witness is never off.
pub(super) fn look(soak: &Soak<'_>, mut asker: Asker<'_>, number: usize) {
    let mut turn = number;
    while soak.goes_on() {
        let begun = Instant::now();
        turn += 1;
        let looked = if turn.is_multiple_of(8) { list(soak, &mut asker) } else { status(soak, &mut asker) };
        match looked {
            Ok(()) => Counts::one_more(&soak.counts.looks),
            Err(_) if soak.goes_on() => reconnect(soak, &mut asker),
            Err(_) => {}
        }
        thread::sleep(LOOKS.saturating_sub(begun.elapsed())); // the pace is the test
    }
}

fn status(soak: &Soak<'_>, asker: &mut Asker<'_>) -> Result<()> {
    let answer = asker.status(&soak.witness, LOOK)?;
    if answer.says_off() {
        soak.violation(&format!("the witness lives, and its status is {answer:?}"));
    }
    Ok(())
}

fn list(soak: &Soak<'_>, asker: &mut Asker<'_>) -> Result<()> {
    let list = request(Ask::List, LOOK)?;
    let reply = asker.peer().ask(&list, LOOK)?;
    if let Body::Items(items, _) = &reply.body
        && items
            .iter()
            .any(|item| item.name.as_str() == soak.witness.name() && item.state == Some(PowerState::Off))
    {
        soak.violation(&format!("the witness lives, and is listed as off: {reply:?}"));
    }
    Ok(())
}

fn reconnect(soak: &Soak<'_>, asker: &mut Asker<'_>) {
    Counts::one_more(&soak.counts.reconnects);
    let begun = Instant::now();
    while let Err(error) = asker.reconnect() {
        if begun.elapsed() > LOST {
            return soak.violation(&format!("{} is not let in any more: {error}", asker.name()));
        }
    }
}

/// Stops, starts and reboots a guest of its own, again and again.
pub(super) fn fence(soak: &Soak<'_>, mut asker: Asker<'_>, number: usize, mut dice: Dice) {
    let plan =
        Guest::named(&format!("fenced{number}")).in_cluster("web").with(Channel::VirtioConnect).cheap();
    let guest = match plan.define(soak.lab) {
        Ok(guest) => guest,
        Err(error) => return soak.violation(&format!("no guest to fence: {error}")),
    };
    while soak.goes_on() {
        if let Err(lost) = fence_once(soak, &mut asker, &guest, &mut dice) {
            soak.violation(&format!("{} lost its verdict: {lost}", asker.name()));
        }
        soak.rest(FENCES);
    }
}

fn fence_once(soak: &Soak<'_>, asker: &mut Asker<'_>, guest: &Guest<'_>, dice: &mut Dice) -> Result<()> {
    let process = if guest.is_running() { guest.process().ok() } else { None };
    let power = match (&process, dice.below(2)) {
        (None, _) => Power::On,
        (Some(_), 0) => Power::Off,
        (Some(_), _) => Power::Reboot,
    };
    let request = request(Ask::Power(power, target(guest)?), PATIENCE)?;
    let answer = persist(soak, asker, &request)?;
    Counts::one_more(&soak.counts.orders);
    let lives = process.as_ref().is_some_and(|process| !Process::is_gone(process));
    if lives && answer.says_off() {
        soak.violation(&format!("{} lives, and {answer:?}", guest.name()));
    }
    if !answer.is_done() {
        Counts::one_more(&soak.counts.failures);
        return Ok(());
    }
    let runs = guest.is_running();
    let is_true = match answer.verdict.state {
        Some(PowerState::On) => runs,
        Some(PowerState::Off) => !runs,
        None => true, // a reboot that was not seen started
    };
    if !is_true {
        soak.violation(&format!("{} runs: {runs}, and {answer:?}", guest.name()));
    }
    if dice.below(5) == 0 {
        let again = persist(soak, asker, &request)?;
        Counts::one_more(&soak.counts.repeats);
        let told = |answer: &Answer| (answer.verdict.ruling, answer.verdict.state, answer.verdict.evidence);
        if told(&again) != told(&answer) {
            soak.violation(&format!("first {answer:?}, then {again:?}"));
        }
    }
    Ok(())
}

/// Asks, and asks again by the same id as often as the agent goes away.
fn persist(
    soak: &Soak<'_>,
    asker: &mut Asker<'_>,
    request: &fence_vmchannel_protocol::Request,
) -> Result<Answer> {
    let begun = Instant::now();
    loop {
        match asker.ask(request) {
            Ok(answer) if must_ask_again(&answer) => {}
            Ok(answer) => return Ok(answer),
            Err(lost) if begun.elapsed() > LOST => return Err(lost),
            Err(_) => reconnect(soak, asker),
        }
        if begun.elapsed() > LOST {
            return Err(LabError::Supervisor("busy for ever".into()));
        }
    }
}

/// Another order is open, or the agent is just ending.
fn must_ask_again(answer: &Answer) -> bool {
    matches!(answer.verdict.ruling, Ruling::Refused(Reason::Busy) | Ruling::Failed(Reason::Stopping))
}

/// Floods its own channel with garbage, leaves in the middle, and knocks at the witness's door as a stranger.
pub(super) fn be_rude(soak: &Soak<'_>, mut asker: Asker<'_>) {
    let mut half = b"fv2 crc:".to_vec();
    half.resize(4095, b'f');
    while soak.goes_on() {
        soak.rest(Duration::from_secs(2));
        for garbage in [vec![b'a'; 100_000], vec![b'\n'; 4096], half.clone()] {
            asker.peer().send(&garbage).ok(); // it may be turned away
        }
        for _ in 0..20 {
            if let Ok(mut stranger) = Peer::connect(soak.lab, soak.witness.uuid()) {
                stranger.send(&half).ok();
            }
        }
        Counts::one_more(&soak.counts.rudeness);
        if soak.goes_on() {
            reconnect(soak, &mut asker);
        }
    }
}
