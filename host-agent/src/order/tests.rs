use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use fence_vmchannel_protocol::Evidence;

use super::*;
use crate::domain::{Instance, InstanceId, Process, Sighting};

#[derive(Debug)]
struct Dead(bool);

#[async_trait]
impl Process for Dead {
    fn is_gone(&self) -> bool {
        self.0
    }
    async fn gone(&self) {}
    fn kill(&self) -> io::Result<()> {
        Ok(())
    }
    fn is_peer(&self, _: i32) -> bool {
        false
    }
    fn describe(&self) -> String {
        String::new()
    }
}

fn instance(gone: bool) -> Instance {
    Instance { id: InstanceId { pid: 7, started: 1 }, process: Arc::new(Dead(gone)) }
}

fn process_gone() -> Proof {
    Proof::process_gone(&instance(true)).unwrap()
}

fn never_ran() -> Proof {
    Proof::never_ran_here(Standing::ShutOff, &Sighting::Absent).unwrap()
}

/// Every kind of event, good and bad.
fn all_events() -> Vec<Event> {
    let why = || "x".to_owned();
    let mut events = vec![
        JobAborted(Ok(())),
        JobAborted(Err(why())),
        StopReturned(Ok(())),
        StopReturned(Err(why())),
        GraceOver,
        KillFailed(why()),
        Started,
        StartFailed(why()),
        DeadlinePassed,
        Confirmed(Err(why())),
        Unconfirmable(why()),
        StoppedAndForgotten,
        LibvirtIsSilent,
        RunsAgain,
        LookIsOld,
        NotBegun(Reason::Condemned, why()),
        Event::Found(Found::Nothing(why())),
        FoundAgain(Found::Running),
        FoundAgain(Found::Leaving),
        FoundAgain(Found::Unattended),
    ];
    let standings = [
        Standing::Active,
        Standing::Leaving,
        Standing::Crashed,
        Standing::ShutOff,
        Standing::Moved,
        Standing::Unclear,
    ];
    events.extend(standings.map(|standing| Confirmed(Ok(standing))));
    events.extend(standings.map(|standing| Event::Found(Found::NotRunning(standing, None))));
    events.extend(
        [
            Found::Unseen,
            Found::Nothing(why()),
            Found::Running,
            Found::Leaving,
            Found::Arriving,
            Found::Ending,
            Found::Unattended,
        ]
        .map(Event::Found),
    );
    events
}

/// The order after these events, and its last step.
fn after(power: Power, events: impl IntoIterator<Item = Event>) -> (Order, Option<Step>) {
    let (order, step) = Order::new(power);
    events.into_iter().fold((order, Some(step)), |(order, _), event| order.on(event))
}

fn outcome(power: Power, events: impl IntoIterator<Item = Event>) -> Option<Outcome> {
    after(power, events).0.outcome().cloned()
}

#[test]
fn a_living_process_proves_nothing_and_neither_does_a_word_with_a_process_beside_it() {
    assert_eq!(Proof::process_gone(&instance(false)), None);
    for process in [Sighting::Unsure, Sighting::Runs(instance(false))] {
        assert_eq!(Proof::never_ran_here(Standing::ShutOff, &process), None);
    }
    for standing in
        [Standing::Active, Standing::Leaving, Standing::Crashed, Standing::Moved, Standing::Unclear]
    {
        assert_eq!(Proof::never_ran_here(standing, &Sighting::Absent), None);
    }
}

#[test]
fn off_is_stop_and_then_the_end_of_the_process() {
    let found = [Event::Found(Found::Running)];
    assert_eq!(after(Power::Off, found.clone()).1, Some(Step::Stop));

    let events = found.into_iter().chain([ProcessGone(process_gone(), false)]);

    let Some(Outcome::Off(proof)) = outcome(Power::Off, events) else { panic!("not off") };
    assert_eq!(proof.evidence(), Evidence::ProcessGone);
}

/// Three events deep, over every event there is: without a proof among them there is no way to "off".
#[test]
fn no_sequence_of_events_without_a_proof_ends_as_off() {
    for power in [Power::Off, Power::Reboot, Power::On] {
        let (order, _) = Order::new(power);
        let mut reached = vec![order];
        for _ in 0..4 {
            let mut next: Vec<Order> = Vec::new();
            for order in &reached {
                for event in all_events() {
                    let (after, _) = order.clone().on(event);
                    if !next.contains(&after) {
                        next.push(after);
                    }
                }
            }
            for order in &next {
                let off = matches!(order.outcome(), Some(Outcome::Off(_) | Outcome::Restarted(..)));
                assert!(!off && order.proof().is_none(), "{power:?}: {order:?}");
            }
            reached = next;
        }
    }
}

#[test]
fn what_proves_that_a_target_is_off_is_known_from_its_start_on() {
    let gone = || [Event::Found(Found::Running), ProcessGone(process_gone(), false)].into_iter();

    assert_eq!(after(Power::Off, [Event::Found(Found::Running)]).0.proof(), None);
    assert_eq!(after(Power::Off, gone()).0.proof(), Some(process_gone()));
    assert_eq!(after(Power::Reboot, gone()).0.proof(), Some(process_gone()), "before it starts");
    assert_eq!(after(Power::Reboot, gone().chain([Started])).0.proof(), Some(process_gone()));
    let on = [Event::Found(Found::NotRunning(Standing::ShutOff, Some(never_ran()))), Started];
    assert_eq!(after(Power::On, on).0.proof(), None, "it runs");
}

#[test]
fn only_what_stops_or_starts_a_target_is_written_down_before() {
    let acting = [Step::Stop, Step::Kill, Step::Start];
    let looking = [Step::Look, Step::AbortJob, Step::LookAgain, Step::Confirm];

    assert!(acting.iter().all(|step| step.acts()) && !looking.iter().any(|step| step.acts()));
}

#[test]
fn a_done_order_stays_as_it_is_whatever_comes() {
    let done = after(Power::Off, [Event::Found(Found::NotRunning(Standing::ShutOff, Some(never_ran())))]).0;

    for event in all_events() {
        assert_eq!(done.clone().on(event), (done.clone(), None));
    }
}

#[test]
fn what_libvirt_returns_is_no_evidence_but_its_error_brings_the_kill_forward() {
    let running = || Event::Found(Found::Running);

    assert_eq!(after(Power::Off, [running(), StopReturned(Ok(()))]).0.outcome(), None);
    assert_eq!(after(Power::Off, [running(), StopReturned(Err("busy".into()))]).1, Some(Step::Kill));
    assert_eq!(after(Power::Off, [running(), GraceOver]).1, Some(Step::Kill));
}

#[test]
fn what_cannot_be_killed_fails_at_the_deadline_and_never_as_off() {
    let events = [Event::Found(Found::Running), GraceOver, StopReturned(Ok(())), DeadlinePassed];

    let Some(Outcome::Failed(reason, _)) = outcome(Power::Off, events) else { panic!("not failed") };

    assert_eq!(reason, Reason::CannotKill);
}

#[test]
fn a_target_whose_libvirt_is_away_is_killed_at_once() {
    let (order, step) = after(Power::Off, [Event::Found(Found::Unattended)]);

    assert_eq!(step, Some(Step::Kill));
    assert!(matches!(order.on(ProcessGone(process_gone(), false)).0.outcome(), Some(Outcome::Off(_))));
}

#[test]
fn a_target_that_was_ending_by_itself_is_off_only_if_libvirt_says_shut_off_afterwards() {
    let aborted = [Event::Found(Found::Leaving), JobAborted(Ok(()))];
    assert_eq!(after(Power::Off, aborted).1, Some(Step::Look), "it may have moved meanwhile");
    let until_gone = || [Event::Found(Found::Ending), ProcessGone(process_gone(), false)].into_iter();
    assert_eq!(after(Power::Off, until_gone()).1, Some(Step::Confirm));

    let confirmed = |standing| outcome(Power::Off, until_gone().chain([Confirmed(standing)]));

    assert!(matches!(confirmed(Ok(Standing::ShutOff)), Some(Outcome::Off(_))));
    assert!(matches!(confirmed(Ok(Standing::Moved)), Some(Outcome::Failed(Reason::Moved, _))));
    assert!(matches!(confirmed(Ok(Standing::Active)), Some(Outcome::Failed(Reason::UnknownState, _))));
    assert!(matches!(confirmed(Err("gone".into())), Some(Outcome::Failed(Reason::UnknownState, _))));
}

#[test]
fn a_target_that_is_arriving_from_another_host_is_left_alone_and_never_off() {
    for power in [Power::Off, Power::Reboot] {
        let arriving = outcome(power, [Event::Found(Found::Arriving)]);
        assert!(matches!(arriving, Some(Outcome::Failed(Reason::Moved, _))));
    }
}

#[test]
fn a_target_that_somebody_restarted_meanwhile_is_stopped_again() {
    let (order, step) = after(Power::Off, [Event::Found(Found::Running), ProcessGone(process_gone(), true)]);

    assert_eq!((order.outcome(), step), (None, Some(Step::Look)));
    assert_eq!(order.on(Event::Found(Found::Running)).1, Some(Step::Stop));
}

#[test]
fn nothing_that_is_not_known_to_be_off_is_off() {
    for found in [
        Found::NotRunning(Standing::ShutOff, None),
        Found::NotRunning(Standing::Active, None),
        Found::NotRunning(Standing::Unclear, None),
        Found::Nothing("libvirt is away".into()),
    ] {
        for power in [Power::Off, Power::On, Power::Reboot] {
            let outcome = outcome(power, [Event::Found(found.clone())]);
            assert!(matches!(outcome, Some(Outcome::Failed(Reason::UnknownState, _))), "{power:?} {found:?}");
        }
    }
    let moved = outcome(Power::Off, [Event::Found(Found::NotRunning(Standing::Moved, None))]);
    assert!(matches!(moved, Some(Outcome::Failed(Reason::Moved, _))));
}

#[test]
fn reboot_starts_what_was_proven_off_and_a_failed_start_does_not_undo_the_proof() {
    let gone = || [Event::Found(Found::Running), ProcessGone(process_gone(), false)].into_iter();
    assert_eq!(after(Power::Reboot, gone()).1, Some(Step::Start));

    let started = outcome(Power::Reboot, gone().chain([Started]));
    let failed = outcome(Power::Reboot, gone().chain([StartFailed("no disk".into())]));
    let late = outcome(Power::Reboot, gone().chain([DeadlinePassed]));

    assert!(matches!(started, Some(Outcome::Restarted(_, Ok(())))));
    assert!(matches!(failed, Some(Outcome::Restarted(_, Err(why))) if why == "no disk"));
    assert!(matches!(late, Some(Outcome::Restarted(_, Err(_)))));
}

#[test]
fn reboot_of_what_is_off_starts_it() {
    let found = Event::Found(Found::NotRunning(Standing::ShutOff, Some(never_ran())));

    assert_eq!(after(Power::Reboot, [found.clone()]).1, Some(Step::Start));
    assert!(matches!(outcome(Power::Reboot, [found, Started]), Some(Outcome::Restarted(_, Ok(())))));
}

#[test]
fn on_starts_what_is_off_and_leaves_alone_what_runs() {
    let off = Event::Found(Found::NotRunning(Standing::ShutOff, Some(never_ran())));

    assert_eq!(outcome(Power::On, [Event::Found(Found::Running)]), Some(Outcome::On));
    assert_eq!(after(Power::On, [off.clone()]).1, Some(Step::Start));
    assert_eq!(outcome(Power::On, [off.clone(), Started]), Some(Outcome::On));
    assert!(matches!(
        outcome(Power::On, [off, StartFailed("x".into())]),
        Some(Outcome::Failed(Reason::StartFailed, _))
    ));
}

/// The events of a stop whose process ends a while after libvirt said that it does not migrate.
fn gone_late(killed: bool) -> Vec<Event> {
    let kill = killed.then_some([GraceOver, FoundAgain(Found::Unattended)]);
    [Event::Found(Found::Running), LookIsOld]
        .into_iter()
        .chain(kill.into_iter().flatten())
        .chain([ProcessGone(process_gone(), false)])
        .collect()
}

#[test]
fn a_target_that_ends_late_may_have_moved_and_is_off_only_by_libvirts_word() {
    let ended = |last| outcome(Power::Off, gone_late(false).into_iter().chain([last]));

    assert_eq!(after(Power::Off, gone_late(false)).1, Some(Step::Confirm));
    assert_eq!(ended(Confirmed(Ok(Standing::ShutOff))), Some(Outcome::Off(process_gone())));
    assert_eq!(ended(StoppedAndForgotten), Some(Outcome::Off(process_gone())));
    for doubtful in [
        Confirmed(Ok(Standing::Moved)),
        Confirmed(Ok(Standing::Active)),
        Confirmed(Err("libvirt does not know this domain".into())),
        Unconfirmable("libvirt cannot be reached".into()),
        DeadlinePassed,
    ] {
        assert!(matches!(ended(doubtful.clone()), Some(Outcome::Failed(..))), "{doubtful:?}");
    }
}

#[test]
fn what_lived_until_it_was_killed_is_off_also_where_libvirt_does_not_answer_afterwards() {
    let ended = |last| outcome(Power::Off, gone_late(true).into_iter().chain([last]));

    assert_eq!(ended(Unconfirmable("libvirt cannot be reached".into())), Some(Outcome::Off(process_gone())));
    assert_eq!(ended(LibvirtIsSilent), Some(Outcome::Off(process_gone())));
    assert_eq!(ended(Confirmed(Ok(Standing::ShutOff))), Some(Outcome::Off(process_gone())));
    assert!(matches!(ended(Confirmed(Ok(Standing::Moved))), Some(Outcome::Failed(Reason::Moved, _))));
    assert!(matches!(ended(Confirmed(Err("no such domain".into()))), Some(Outcome::Failed(..))));
}

#[test]
fn what_began_to_migrate_while_libvirt_was_to_stop_it_is_not_killed() {
    let looks_again = [Event::Found(Found::Running), LookIsOld, GraceOver];
    let found = |found| after(Power::Off, looks_again.clone().into_iter().chain([FoundAgain(found)]));

    assert_eq!(after(Power::Off, looks_again.clone()).1, Some(Step::LookAgain));
    assert_eq!(found(Found::Leaving).1, Some(Step::AbortJob));
    assert!(matches!(found(Found::Arriving).0.outcome(), Some(Outcome::Failed(Reason::Moved, _))));
    assert_eq!(found(Found::Running).1, Some(Step::Kill));
    assert_eq!(found(Found::Unattended).1, Some(Step::Kill));
    let aborted = looks_again.clone().into_iter().chain([FoundAgain(Found::Leaving), JobAborted(Ok(()))]);
    assert_eq!(
        after(Power::Off, aborted.chain([Event::Found(Found::Running)])).1,
        Some(Step::Kill),
        "at once"
    );
}

#[test]
fn what_could_not_be_killed_may_have_moved() {
    let ended = gone_late(true);
    let (gone, before) = ended.split_last().unwrap();
    let events = before.iter().cloned().chain([KillFailed("not permitted".into()), gone.clone()]);

    let silent = outcome(Power::Off, events.clone().chain([LibvirtIsSilent]));
    let away = outcome(Power::Off, events.chain([Unconfirmable("libvirt cannot be reached".into())]));

    assert_eq!(silent, None);
    assert!(matches!(away, Some(Outcome::Failed(Reason::UnknownState, _))));
}

#[test]
fn what_was_ending_by_itself_is_not_off_because_libvirt_has_forgotten_it() {
    let ending = [Event::Found(Found::Ending), GraceOver, ProcessGone(process_gone(), false)];

    for last in [StoppedAndForgotten, Unconfirmable("libvirt cannot be reached".into())] {
        let ended = outcome(Power::Off, ending.clone().into_iter().chain([last]));
        assert!(matches!(ended, Some(Outcome::Failed(Reason::UnknownState, _))), "{ended:?}");
    }
}

#[test]
fn a_target_that_is_started_while_libvirt_is_asked_how_it_ended_is_stopped_again() {
    for another in [RunsAgain, ProcessGone(process_gone(), true)] {
        let again = gone_late(true).into_iter().chain([another]);
        assert_eq!(after(Power::Off, again).1, Some(Step::Look));
    }

    // One that nobody killed is not off because libvirt is silent.
    assert_eq!(outcome(Power::Off, gone_late(false).into_iter().chain([LibvirtIsSilent])), None);
}

#[test]
fn who_aborts_a_migration_has_done_something_and_who_looks_has_not() {
    let felt = [Step::Stop, Step::Kill, Step::Start, Step::AbortJob];
    let unfelt = [Step::Look, Step::LookAgain, Step::Confirm];

    assert!(felt.into_iter().all(Step::is_felt));
    assert!(!unfelt.into_iter().any(Step::is_felt));
}
