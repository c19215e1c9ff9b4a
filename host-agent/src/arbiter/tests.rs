mod restart;
mod starts;

use fence_vmchannel_protocol::{Evidence, Ruling, Verdict};

use super::*;

const NOW: Duration = Duration::from_secs(1);

fn uuid(n: u8) -> Uuid {
    Uuid::from_u128(u128::from(n))
}

fn instance(n: u8) -> InstanceId {
    InstanceId { pid: i32::from(n), started: 1 }
}

fn application(guest: u8, request: u8, power: Power, target: u8) -> Application {
    Application {
        asker: (uuid(guest), instance(guest)),
        request: RequestId::from_random([request; 16]).unwrap(),
        target: uuid(target),
        power,
        until: NOW,
    }
}

#[test]
fn of_two_guests_that_fence_each_other_the_first_accepted_survives() {
    let mut arbiter = Arbiter::default();

    let first = arbiter.accept(&application(1, 1, Power::Off, 2), NOW);
    let second = arbiter.accept(&application(2, 2, Power::Off, 1), NOW);

    assert_eq!(first, Decision::Begin(1));
    assert!(matches!(second, Decision::Refuse(Reason::Condemned, _)));
}

#[test]
fn a_request_that_waited_in_a_dead_guests_socket_is_refused_after_its_end() {
    let mut arbiter = Arbiter::default();
    arbiter.accept(&application(1, 1, Power::Off, 2), NOW);
    arbiter.finish(uuid(2), Power::Off, Some(instance(2)));

    let late = arbiter.accept(&application(2, 2, Power::Off, 1), NOW);

    assert!(matches!(late, Decision::Refuse(Reason::Condemned, _)));
}

#[test]
fn a_guest_that_was_started_again_may_act_again() {
    let mut arbiter = Arbiter::default();
    arbiter.accept(&application(1, 1, Power::Reboot, 2), NOW);
    arbiter.finish(uuid(2), Power::Off, Some(instance(2)));
    let reborn = Application { asker: (uuid(2), instance(9)), ..application(2, 2, Power::Off, 1) };

    assert_eq!(arbiter.accept(&reborn, NOW), Decision::Begin(2));
}

#[test]
fn starting_a_guest_does_not_condemn_it() {
    let mut arbiter = Arbiter::default();
    arbiter.accept(&application(1, 1, Power::On, 2), NOW);

    assert_eq!(arbiter.accept(&application(2, 2, Power::Off, 1), NOW), Decision::Begin(2));
}

#[test]
fn a_target_that_was_not_stopped_may_act_again() {
    let mut arbiter = Arbiter::default();
    arbiter.accept(&application(1, 1, Power::Off, 2), NOW);
    arbiter.finish(uuid(2), Power::Off, None);

    assert_eq!(arbiter.accept(&application(2, 2, Power::Off, 1), NOW), Decision::Begin(2));
}

#[test]
fn equal_requests_of_different_guests_join_one_order() {
    let mut arbiter = Arbiter::default();

    assert_eq!(arbiter.accept(&application(1, 1, Power::Off, 3), NOW), Decision::Begin(1));
    assert_eq!(arbiter.accept(&application(2, 2, Power::Off, 3), NOW), Decision::Join(1));
}

#[test]
fn different_orders_on_one_target_do_not_mix() {
    let mut arbiter = Arbiter::default();
    arbiter.accept(&application(1, 1, Power::Off, 3), NOW);

    let other = arbiter.accept(&application(2, 2, Power::On, 3), NOW);

    assert!(matches!(other, Decision::Refuse(Reason::Busy, _)));
}

#[test]
fn a_repeat_gets_the_stored_verdict_and_never_acts_twice() {
    let mut arbiter = Arbiter::default();
    let application = application(1, 1, Power::Off, 2);
    arbiter.accept(&application, NOW);
    assert_eq!(arbiter.accept(&application, NOW), Decision::Join(1), "while it runs");

    let verdict = Verdict::new(Ruling::Done);
    arbiter.finish(uuid(2), Power::Off, Some(instance(2)));
    arbiter.answered(uuid(1), application.request, &verdict, NOW);

    assert_eq!(arbiter.accept(&application, NOW + VERDICT_KEPT), Decision::Repeat(Box::new(verdict)));
}

#[test]
fn a_verdict_is_forgotten_after_its_time_and_another_guests_id_means_nothing() {
    let mut arbiter = Arbiter::default();
    let first = application(1, 1, Power::Off, 2);
    arbiter.accept(&first, NOW);
    arbiter.finish(uuid(2), Power::Off, Some(instance(2)));
    arbiter.answered(uuid(1), first.request, &Verdict::new(Ruling::Done), NOW);

    let forged = arbiter.accept(&application(3, 1, Power::Off, 2), NOW);
    arbiter.finish(uuid(2), Power::Off, None);
    let late = arbiter.accept(&first, NOW + VERDICT_KEPT + Duration::from_secs(1));

    assert_eq!(forged, Decision::Begin(2));
    assert_eq!(late, Decision::Begin(3));
}

#[test]
fn a_verdict_is_kept_as_long_as_its_asker_may_ask_again() {
    let mut arbiter = Arbiter::default();
    let until = NOW + 6 * VERDICT_KEPT;
    let patient = Application { until, ..application(1, 1, Power::Off, 2) };
    arbiter.accept(&patient, NOW);
    arbiter.settle(1, &Verdict::new(Ruling::Done), NOW);
    arbiter.finish(uuid(2), Power::Off, Some(instance(2)));

    assert!(matches!(arbiter.accept(&patient, until), Decision::Repeat(_)));
    assert!(!arbiter.knows(&patient, until + Duration::from_millis(1)));
}

#[test]
fn an_id_cannot_be_used_for_another_request() {
    let mut arbiter = Arbiter::default();
    arbiter.accept(&application(1, 1, Power::Off, 2), NOW);

    for other in [application(1, 1, Power::On, 2), application(1, 1, Power::Off, 3)] {
        assert!(matches!(arbiter.accept(&other, NOW), Decision::Refuse(Reason::BadRequest, _)));
    }
}

#[test]
fn a_guest_waits_for_four_orders_at_most_and_is_remembered_within_bounds() {
    let mut arbiter = Arbiter::default();
    for n in 1..=4 {
        assert!(matches!(arbiter.accept(&application(1, n, Power::Off, 10 + n), NOW), Decision::Begin(_)));
    }
    assert!(matches!(
        arbiter.accept(&application(1, 5, Power::Off, 15), NOW),
        Decision::Refuse(Reason::Busy, _)
    ));

    for n in 1..=200 {
        let application = application(2, n, Power::Off, n);
        arbiter.accept(&application, NOW);
        arbiter.finish(uuid(n), Power::Off, None);
        arbiter.answered(uuid(2), application.request, &Verdict::new(Ruling::Done), NOW);
    }

    assert!(arbiter.guests[&uuid(2)].len() <= VERDICTS_PER_GUEST);
}

#[test]
fn the_same_sequence_gives_the_same_decisions() {
    let powers = [Power::Off, Power::On, Power::Reboot];
    let sequence: Vec<Application> = (1..=200u8)
        .map(|n| application(n % 5 + 1, n, powers[usize::from(n % 3)], n.wrapping_mul(7) % 5 + 1))
        .collect();

    let decide = || {
        let mut arbiter = Arbiter::default();
        sequence.iter().map(|application| arbiter.accept(application, NOW)).collect::<Vec<_>>()
    };

    assert_eq!(decide(), decide());
}

#[test]
fn who_went_away_finds_the_verdict_of_its_order_when_it_asks_again() {
    let mut arbiter = Arbiter::default();
    let application = application(1, 1, Power::Off, 2);
    arbiter.accept(&application, NOW);
    let verdict = Verdict::new(Ruling::Done);

    arbiter.settle(1, &verdict, NOW);
    arbiter.finish(uuid(2), Power::Off, Some(instance(2)));

    assert_eq!(arbiter.accept(&application, NOW), Decision::Repeat(Box::new(verdict)));
}

#[test]
fn a_guest_whose_connection_breaks_with_each_order_is_not_locked_out() {
    let mut arbiter = Arbiter::default();
    for n in 1..=20 {
        let decision = arbiter.accept(&application(1, n, Power::Off, 2), NOW);
        let Decision::Begin(number) = decision else { panic!("{decision:?}") };
        arbiter.settle(number, &Verdict::new(Ruling::Done), NOW);
        arbiter.finish(uuid(2), Power::Off, None);
    }
}

#[test]
fn a_reboot_whose_target_is_being_started_is_not_joined() {
    let mut arbiter = Arbiter::default();
    arbiter.accept(&application(1, 1, Power::Reboot, 3), NOW);
    arbiter.starting(uuid(3), Power::Reboot, true);

    let late = arbiter.accept(&application(2, 2, Power::Reboot, 3), NOW);

    assert!(matches!(late, Decision::Refuse(Reason::Busy, _)));
}

#[test]
fn what_is_remembered_of_a_domain_goes_with_it_but_what_it_was_told_not_before_its_time() {
    let mut arbiter = Arbiter::default();
    let asked = application(1, 1, Power::Off, 2);
    arbiter.accept(&asked, NOW);
    arbiter.settle(1, &Verdict::new(Ruling::Done), NOW);
    arbiter.finish(uuid(2), Power::Off, Some(instance(2)));

    arbiter.retain(|_| false, NOW);
    assert!(matches!(arbiter.accept(&asked, NOW), Decision::Repeat(_)), "libvirt may know it again");
    arbiter.retain(|_| false, NOW + 2 * VERDICT_KEPT);

    assert!(arbiter.guests.is_empty() && arbiter.condemned.is_empty());
}

#[test]
fn a_request_is_known_once_it_was_accepted_and_only_as_its_own_guests() {
    let mut arbiter = Arbiter::default();
    let asked = application(1, 1, Power::Off, 2);
    assert!(!arbiter.knows(&asked, NOW));

    arbiter.accept(&asked, NOW);

    assert!(arbiter.knows(&asked, NOW));
    assert!(!arbiter.knows(&application(1, 2, Power::Off, 2), NOW), "another id");
    assert!(!arbiter.knows(&application(3, 1, Power::Off, 2), NOW), "another guest");
    arbiter.settle(1, &Verdict::new(Ruling::Done), NOW);
    let later = NOW + VERDICT_KEPT + Duration::from_millis(1);
    assert!(arbiter.knows(&asked, NOW) && !arbiter.knows(&asked, later), "as `accept` would have it");
}

#[test]
fn all_verdicts_of_a_guest_are_kept_while_there_is_room() {
    let mut arbiter = Arbiter::default();
    let quick = |request| application(1, request, Power::On, 3);
    for request in 1..=64 {
        arbiter.accept(&quick(request), NOW);
        arbiter.settle(u64::from(request), &Verdict::new(Ruling::Done), NOW);
        arbiter.finish(uuid(3), Power::On, None);
    }

    let kept = (1..=64).filter(|request| arbiter.knows(&quick(*request), NOW)).count();
    arbiter.accept(&quick(65), NOW);
    let then = (1..=65).filter(|request| arbiter.knows(&quick(*request), NOW)).count();

    assert_eq!((kept, then), (64, 64));
}

#[test]
fn an_answer_that_came_late_is_remembered_longer_than_those_before_it() {
    let mut arbiter = Arbiter::default();
    let slow = application(1, 255, Power::Off, 2);
    arbiter.accept(&slow, NOW);
    for request in 1..=64 {
        let quick = application(1, request, Power::On, 3);
        arbiter.accept(&quick, NOW);
        arbiter.settle(u64::from(request) + 1, &Verdict::new(Ruling::Done), NOW);
        arbiter.finish(uuid(3), Power::Off, None);
    }
    let late = Verdict::failed(Reason::Timeout, "not done in time");
    arbiter.answered(uuid(1), slow.request, &late, 2 * NOW);

    arbiter.accept(&application(1, 65, Power::On, 3), 2 * NOW);

    assert_eq!(arbiter.accept(&slow, 2 * NOW), Decision::Repeat(Box::new(late)));
}

#[test]
fn who_had_its_answer_before_the_orders_end_holds_its_place_until_then() {
    let mut arbiter = Arbiter::default();
    for request in 1..=4 {
        arbiter.accept(&application(1, request, Power::Off, 2), NOW);
        let id = application(1, request, Power::Off, 2).request;
        arbiter.answered(uuid(1), id, &Verdict::failed(Reason::Timeout, "not done in time"), NOW);
    }

    let fifth = arbiter.accept(&application(1, 5, Power::Off, 2), NOW);
    assert!(matches!(fifth, Decision::Refuse(Reason::Busy, _)), "{fifth:?}");
    arbiter.finish(uuid(2), Power::Off, None);

    assert_eq!(arbiter.accept(&application(1, 6, Power::Off, 2), NOW), Decision::Begin(2));
}

#[test]
fn whatever_a_guest_asks_meanwhile_its_open_orders_hold_their_places() {
    let mut arbiter = Arbiter::default();
    for target in 11..=13 {
        let asked = application(1, target, Power::Off, target);
        arbiter.accept(&asked, NOW);
        arbiter.answered(uuid(1), asked.request, &Verdict::failed(Reason::Timeout, "not done in time"), NOW);
    }
    for request in 20..=100 {
        let Decision::Begin(number) = arbiter.accept(&application(1, request, Power::Off, 2), NOW) else {
            panic!("one place is free")
        };
        arbiter.settle(number, &Verdict::new(Ruling::Done), 2 * NOW);
        arbiter.finish(uuid(2), Power::Off, None);
    }

    assert!(matches!(arbiter.accept(&application(1, 101, Power::Off, 14), 2 * NOW), Decision::Begin(_)));
    let fifth = arbiter.accept(&application(1, 102, Power::Off, 15), 2 * NOW);

    assert!(matches!(fifth, Decision::Refuse(Reason::Busy, _)), "{fifth:?}");
}
