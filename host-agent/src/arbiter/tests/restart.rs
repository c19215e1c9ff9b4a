//! What the journal tells of before a restart.

use super::*;
use crate::journal::{Acting, Ended};

/// An order of before a restart, asked for by the guests 1 and 3 under the ids 1 and 3.
pub(super) fn known(order: OrderNumber, power: &str, ended: Option<Ended>) -> Known {
    let asked = |n: u8| application(n, n, Power::Off, 2).asked();
    let permit = serde_json::json!({
        "asker": { "uuid": uuid(1), "name": "web1", "instance": { "pid": 1, "started": 1 } },
        "target": uuid(2), "name": "web2", "power": power, "rule": "both are members",
    });
    let acting = Acting {
        order,
        permit: serde_json::from_value(permit).unwrap(),
        askers: vec![asked(1), asked(3)],
        accepted: NOW,
        until: NOW,
        instance: Some(instance(2)),
        persistent: true,
        recipe: None,
    };
    Known { acting, off: None, answered: Default::default(), ended }
}

fn end(stopped: Option<InstanceId>) -> Ended {
    Ended { verdict: Verdict::new(Ruling::Done), stopped, at: 2 * NOW }
}

fn restored(known: &Known) -> Arbiter {
    let mut arbiter = Arbiter::default();
    arbiter.restore(known.acting.order, known);
    arbiter
}

#[test]
fn an_open_order_of_before_a_restart_is_open_and_condemns_its_target() {
    let mut arbiter = restored(&known(7, "off", None));

    assert_eq!(arbiter.askers(uuid(2), Power::Off), known(7, "off", None).acting.askers);
    assert_eq!(arbiter.accept(&application(1, 1, Power::Off, 2), NOW), Decision::Join(7), "a repeat");
    assert_eq!(arbiter.accept(&application(4, 4, Power::Off, 2), NOW), Decision::Join(7), "an equal one");
    let of_target = arbiter.accept(&application(2, 2, Power::Off, 1), NOW);
    assert!(matches!(of_target, Decision::Refuse(Reason::Condemned, _)));
    assert_eq!(arbiter.accept(&application(1, 9, Power::Off, 5), NOW), Decision::Begin(8));
}

#[test]
fn a_number_of_before_a_restart_is_never_given_again_in_whatever_order_they_are_restored() {
    let mut arbiter = Arbiter::default();
    arbiter.restore(7, &known(7, "off", Some(end(None))));
    arbiter.restore(3, &known(3, "off", Some(end(None))));

    assert_eq!(arbiter.accept(&application(1, 9, Power::Off, 2), NOW), Decision::Begin(8));
}

#[test]
fn an_end_of_before_a_restart_is_told_again_and_its_target_stays_condemned() {
    let mut arbiter = restored(&known(7, "off", Some(end(Some(instance(2))))));

    let again = arbiter.accept(&application(1, 1, Power::Off, 2), NOW);
    let of_target = arbiter.accept(&application(2, 2, Power::Off, 1), NOW);

    assert_eq!(again, Decision::Repeat(Box::new(Verdict::new(Ruling::Done))));
    assert!(matches!(of_target, Decision::Refuse(Reason::Condemned, _)));
    assert!(arbiter.askers(uuid(2), Power::Off).is_empty());
}

#[test]
fn who_was_told_something_else_before_a_restart_hears_that_again_and_the_other_the_end() {
    let late = Verdict::failed(Reason::Timeout, "not in time");
    let told = [(application(3, 3, Power::Off, 2).asked(), late.clone())];
    let mut ended = restored(&Known { answered: told.clone().into(), ..known(7, "off", Some(end(None))) });
    let mut open = restored(&Known { answered: told.into(), ..known(7, "off", None) });
    let repeat = |n| application(n, n, Power::Off, 2);

    assert_eq!(ended.accept(&repeat(1), NOW), Decision::Repeat(Box::new(Verdict::new(Ruling::Done))));
    assert_eq!(ended.accept(&repeat(3), NOW), Decision::Repeat(Box::new(late.clone())));
    assert_eq!(open.accept(&repeat(1), NOW), Decision::Join(7));
    assert_eq!(open.accept(&repeat(3), NOW), Decision::Repeat(Box::new(late)));
}

#[test]
fn a_reboot_of_before_a_restart_is_joined_only_while_its_target_is_not_proven_off() {
    let running = known(7, "reboot", None);
    let started = Known { off: Some(Evidence::ProcessGone), ..running.clone() };
    let another = application(4, 4, Power::Reboot, 2);

    assert_eq!(restored(&running).accept(&another, NOW), Decision::Join(7));
    assert!(matches!(restored(&started).accept(&another, NOW), Decision::Refuse(Reason::Busy, _)));
}

#[test]
fn what_a_request_was_answered_is_known_by_its_own_id_and_guest() {
    let mut arbiter = Arbiter::default();
    let (first, second) = (application(1, 1, Power::Off, 2), application(1, 2, Power::Off, 3));
    arbiter.accept(&first, NOW);
    arbiter.accept(&second, NOW);
    assert_eq!(arbiter.given(&first.asked()), None, "it is not over");
    let verdict = Verdict::failed(Reason::Timeout, "not in time");

    arbiter.settle(2, &verdict, NOW);

    assert_eq!(arbiter.given(&second.asked()), Some(&verdict));
    assert_eq!(arbiter.given(&first.asked()), None);
    assert_eq!(arbiter.given(&application(4, 2, Power::Off, 3).asked()), None, "another guest");
}

#[test]
fn what_became_of_a_request_is_found_by_its_id_and_what_it_was_for() {
    let mut arbiter = Arbiter::default();
    let (first, second) = (application(1, 1, Power::Off, 2), application(1, 2, Power::On, 3));
    arbiter.accept(&first, NOW);
    arbiter.accept(&second, NOW);
    arbiter.settle(2, &Verdict::new(Ruling::Done), NOW);

    let repeat = Decision::Repeat(Box::new(Verdict::new(Ruling::Done)));
    assert_eq!(arbiter.before(&first.asked(), Power::Off, |_| true), Some(Decision::Join(1)));
    assert_eq!(arbiter.before(&second.asked(), Power::On, |_| true), Some(repeat));
    assert_eq!(arbiter.before(&first.asked(), Power::On, |_| true), None, "that was for something else");
    assert_eq!(
        arbiter.before(&application(1, 9, Power::Off, 2).asked(), Power::Off, |_| true),
        None,
        "another id"
    );
}

#[test]
fn who_asked_first_before_a_restart_is_no_reason_to_act_if_that_run_of_it_was_stopped() {
    let mut known = known(7, "off", None);
    known.acting.askers.truncate(1);
    let mut arbiter = restored(&known);
    assert_eq!(arbiter.begin_to_act(uuid(2), Power::Off, |_| false), Ok(()));

    arbiter.finish(uuid(1), Power::Off, Some(instance(1)));

    assert_eq!(arbiter.begin_to_act(uuid(2), Power::Off, |_| false), Err(Reason::Condemned));
}
