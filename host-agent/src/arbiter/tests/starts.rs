//! Orders that only start their target, and what overtakes them.

use super::restart::known;
use super::*;

fn is_busy(decision: &Decision) -> bool {
    matches!(decision, Decision::Refuse(Reason::Busy, _))
}

#[test]
fn who_starts_a_target_keeps_nobody_from_stopping_it_and_begins_nothing_then() {
    for power in [Power::Off, Power::Reboot] {
        let mut arbiter = Arbiter::default();
        assert_eq!(arbiter.accept(&application(1, 1, Power::On, 3), NOW), Decision::Begin(1));

        assert_eq!(arbiter.accept(&application(2, 2, power, 3), NOW), Decision::Begin(2));

        assert!(is_busy(&arbiter.accept(&application(4, 4, Power::On, 3), NOW)), "it is to be stopped");
        assert_eq!(arbiter.begin_to_act(uuid(3), Power::On, |_| false), Err(Reason::Busy));
        assert_eq!(arbiter.begin_to_act(uuid(3), power, |_| false), Ok(()));
        arbiter.finish(uuid(3), power, None);
        assert_eq!(arbiter.begin_to_act(uuid(3), Power::On, |_| false), Err(Reason::Busy), "nor later");
        assert!(is_busy(&arbiter.accept(&application(4, 5, Power::On, 3), NOW)), "nobody joins it");
        arbiter.finish(uuid(3), Power::On, None);
        assert_eq!(arbiter.accept(&application(4, 6, Power::On, 3), NOW), Decision::Begin(3));
    }
}

#[test]
fn a_start_is_under_way_from_its_beginning_to_the_orders_end() {
    let mut arbiter = Arbiter::default();
    arbiter.accept(&application(1, 1, Power::On, 3), NOW);
    assert_eq!(arbiter.start_under_way(uuid(3)), None);

    arbiter.begin_to_act(uuid(3), Power::On, |_| false).unwrap();
    arbiter.accept(&application(2, 2, Power::Off, 3), NOW);

    assert_eq!(arbiter.start_under_way(uuid(3)), Some(1));
    arbiter.finish(uuid(3), Power::On, None);
    assert_eq!(arbiter.start_under_way(uuid(3)), None);
}

#[test]
fn nothing_is_begun_for_those_that_were_told_or_are_condemned() {
    let mut arbiter = Arbiter::default();
    let asked = application(1, 1, Power::Off, 3);
    arbiter.accept(&asked, NOW);

    assert_eq!(
        arbiter.begin_to_act(uuid(3), Power::Off, |told| *told == asked.asked()),
        Err(Reason::Timeout)
    );
    arbiter.accept(&application(2, 2, Power::Off, 1), NOW);
    assert_eq!(arbiter.begin_to_act(uuid(3), Power::Off, |_| false), Err(Reason::Condemned));
    arbiter.accept(&application(2, 3, Power::Off, 3), NOW);

    assert_eq!(arbiter.begin_to_act(uuid(3), Power::Off, |_| false), Ok(()));
}

#[test]
fn a_start_that_had_begun_before_a_restart_goes_on_and_is_waited_for() {
    let mut arbiter = Arbiter::default();
    arbiter.restore(6, &known(6, "on", None));

    assert_eq!(arbiter.accept(&application(5, 5, Power::Off, 2), NOW), Decision::Begin(7));

    assert_eq!(
        arbiter.begin_to_act(uuid(2), Power::On, |_| false),
        Ok(()),
        "libvirt may be starting it already"
    );
    assert_eq!(arbiter.start_under_way(uuid(2)), Some(6));
}
