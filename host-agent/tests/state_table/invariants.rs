//! What holds in every line of the table, whatever it says.

use fence_vmchannel_host_agent::domain::Standing;
use fence_vmchannel_protocol::{Evidence, PowerState, Ruling};

use crate::scene::{Process, Scene, Word};
use crate::stage::{Answer, Op};
use crate::table::{cell, lines};

/// Every scene in which this op was answered so that it is wrong.
fn wrong(is_wrong: impl Fn(Scene, Op, &Answer) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines() {
        for (op, answer) in &line.answers {
            if is_wrong(line.scene, *op, answer) {
                found.push(format!("{op:?} in {:?}: {} while {:?}", line.scene, cell(answer), answer.then));
            }
        }
    }
    found
}

fn says_off(answer: &Answer) -> bool {
    answer.state == Some(PowerState::Off) || answer.evidence.is_some()
}

fn looks(op: Op) -> bool {
    matches!(op, Op::Status | Op::List)
}

fn acted(answer: &Answer, words: &[&str]) -> bool {
    answer.actions.iter().any(|action| words.iter().any(|word| action.starts_with(word)))
}

#[test]
fn nobody_is_told_off_while_a_process_of_the_target_lives() {
    assert_eq!(wrong(|_, _, answer| says_off(answer) && !answer.then.alive.is_empty()), [""; 0]);
}

#[test]
fn nobody_is_told_off_while_the_target_may_run_on_another_host() {
    // What was shut off and has no process has run nowhere since, or events would have told: `status` takes that word.
    let by_last_word = |scene: Scene, op| looks(op) && scene.seen == Standing::ShutOff;

    assert_eq!(
        wrong(|scene, op, answer| says_off(answer) && answer.then.elsewhere && !by_last_word(scene, op)),
        [""; 0]
    );
}

#[test]
fn status_says_off_only_where_libvirt_said_shut_off() {
    let said = |scene: Scene| scene.seen == Standing::ShutOff || scene.word == Word::Says(Standing::ShutOff);

    assert_eq!(wrong(|scene, op, answer| looks(op) && says_off(answer) && !said(scene)), [""; 0]);
}

#[test]
fn nothing_is_started_here_that_may_run_on_another_host() {
    let starts = |answer: &Answer| acted(answer, &["start", "create"]);

    assert_eq!(wrong(|_, _, answer| starts(answer) && answer.then.elsewhere), [""; 0]);
}

#[test]
fn nobody_is_told_off_where_the_host_could_not_be_looked_at() {
    let unsure = |process| matches!(process, Process::UnsureFile | Process::UnsureScan);

    assert_eq!(wrong(|scene, _, answer| says_off(answer) && unsure(scene.process)), [""; 0]);
}

#[test]
fn status_and_list_say_the_same_in_every_line() {
    for line in lines() {
        let told = |wanted| line.answers.iter().find(|(op, _)| *op == wanted).map(|(_, answer)| answer.state);
        assert_eq!(told(Op::Status), told(Op::List), "{:?}", line.scene);
    }
}

#[test]
fn an_order_says_off_only_with_evidence_and_a_failure_says_nothing() {
    let orders = |op| matches!(op, Op::Off | Op::On | Op::Reboot);

    let unproven = wrong(|_, op, answer| {
        orders(op) && answer.state == Some(PowerState::Off) && answer.evidence.is_none()
    });
    let talkative = wrong(|_, _, answer| {
        answer.ruling != Ruling::Done && (answer.state.is_some() || answer.evidence.is_some())
    });

    assert_eq!(unproven, [""; 0]);
    assert_eq!(talkative, [""; 0]);
}

#[test]
fn off_is_done_only_with_evidence_and_reboot_too() {
    let needs = |op| matches!(op, Op::Off | Op::Reboot);

    assert_eq!(
        wrong(|_, op, answer| needs(op) && answer.ruling == Ruling::Done && answer.evidence.is_none()),
        [""; 0]
    );
}

#[test]
fn that_it_never_ran_here_is_said_only_after_libvirts_word_and_without_touching_anything() {
    let never = |answer: &Answer| answer.evidence == Some(Evidence::NeverRanHere);

    assert_eq!(
        wrong(|scene, _, answer| never(answer) && scene.word != Word::Says(Standing::ShutOff)),
        [""; 0]
    );
    assert_eq!(wrong(|_, _, answer| never(answer) && acted(answer, &["stop", "kill", "abort"])), [""; 0]);
}

#[test]
fn looking_changes_nothing_and_on_ends_nothing() {
    assert_eq!(wrong(|_, op, answer| looks(op) && !answer.actions.is_empty()), [""; 0]);
    assert_eq!(wrong(|_, op, answer| op == Op::On && acted(answer, &["stop", "kill", "abort"])), [""; 0]);
    assert_eq!(wrong(|_, op, answer| op == Op::Off && acted(answer, &["start", "create"])), [""; 0]);
}

#[test]
fn nothing_is_started_beside_a_living_process() {
    let beside = |answer: &Answer| answer.actions.iter().any(|action| action.contains("BESIDE"));

    assert_eq!(wrong(|_, _, answer| beside(answer)), [""; 0]);
}

#[test]
fn what_runs_is_never_told_to_be_off_by_status() {
    assert_eq!(
        wrong(|_, op, answer| looks(op)
            && !answer.then.alive.is_empty()
            && answer.state == Some(PowerState::Off)),
        [""; 0]
    );
}

#[test]
fn a_known_process_is_fenced_without_libvirt() {
    let can_be = |process| matches!(process, Process::Alive | Process::Stubborn | Process::Another);
    let settled =
        |scene: Scene| !matches!(scene.seen, Standing::Leaving | Standing::Moved | Standing::Unclear);
    let unfenced = wrong(|scene, op, answer| {
        let away = matches!(scene.word, Word::Unreachable | Word::Hangs);
        let expected = away && can_be(scene.process) && settled(scene);
        expected && op == Op::Off && answer.evidence != Some(Evidence::ProcessGone)
    });

    assert_eq!(unfenced, [""; 0]);
}

#[test]
fn every_answer_comes_before_the_clients_own_time_is_over() {
    let patience = fence_vmchannel_protocol::limits::TIMEOUT_DEFAULT;

    assert_eq!(wrong(|_, _, answer| answer.took >= patience), [""; 0]);
}
