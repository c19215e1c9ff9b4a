//! Users who do not go first keep one another from nothing.

use super::*;

/// A power request for which the host waits ten minutes before it accepts it.
fn delayed_on(id: u8) -> Question {
    let question = question(id, Ask::Power(Power::On, "web3".parse().unwrap()));
    Question { request: Request { delay: Duration::from_secs(600), ..question.request }, ..question }
}

#[test]
fn who_orders_for_later_and_leaves_keeps_no_other_user_from_ordering() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    for number in [1, 2] {
        let program = desk.join(Rights::ordering().of(1)).unwrap();
        desk.ask(program, delayed_on(number), now).unwrap();
        sent(&mut desk, now);
        desk.leave(program);
    }
    let other = desk.join(Rights::ordering().of(2)).unwrap();

    desk.ask(other, off(3), now).unwrap();

    assert_eq!(sent(&mut desk, now), [3]);
}

#[test]
fn a_user_who_does_not_go_first_has_one_order_under_way_and_the_next_follows_it() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(Rights::ordering().of(1)).unwrap();
    for question in [off(1), off(2), status(3)] {
        desk.ask(program, question, now).unwrap();
    }

    assert_eq!(sent(&mut desk, now), [1, 3], "what is no order passes it");
    desk.heard(id(1), true);
    assert_eq!(sent(&mut desk, now), [2]);
}
