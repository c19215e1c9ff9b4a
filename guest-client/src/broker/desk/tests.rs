use std::time::Duration;

use fence_vmchannel_protocol::{Method, Power};

use super::*;

fn root() -> Rights {
    super::super::policy::Policy::default().rights(0, 0)
}

/// A user who may look.
fn watcher(user: u32) -> Rights {
    Rights::looking().of(user)
}

fn question(id: u8, ask: Ask) -> Question {
    let id = RequestId::from_random([id; 16]).unwrap();
    let timeout = Duration::from_secs(10);
    Question {
        request: Request { id, ask, timeout, delay: Duration::ZERO, method: Method::OnOff },
        signed: None,
    }
}

fn status(id: u8) -> Question {
    question(id, Ask::Status("web2".parse().unwrap()))
}

fn off(id: u8) -> Question {
    question(id, Ask::Power(Power::Off, "web2".parse().unwrap()))
}

fn id(id: u8) -> RequestId {
    RequestId::from_random([id; 16]).unwrap()
}

/// The ids in the order in which they go to the host now.
fn sent(desk: &mut Desk, now: Instant) -> Vec<u8> {
    let lines = std::iter::from_fn(|| desk.next_line(now));
    let ids = lines.map(|line| {
        let text = String::from_utf8(line).unwrap();
        let (_, id) = text.split_once("\"id\":\"").unwrap();
        u8::from_str_radix(&id[..2], 16).unwrap()
    });
    ids.collect()
}

fn declined(desk: &mut Desk, program: ProgramId, question: Question, now: Instant) -> Reason {
    desk.ask(program, question, now).unwrap_err().reason
}

#[test]
fn each_answer_goes_to_the_program_that_asked() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let (one, other) = (desk.join(watcher(1)).unwrap(), desk.join(watcher(2)).unwrap());

    desk.ask(one, status(1), now).unwrap();
    desk.ask(other, status(2), now).unwrap();
    sent(&mut desk, now);

    assert_eq!(desk.heard(id(2), true), Some(other));
    assert_eq!(desk.heard(id(1), true), Some(one));
    assert_eq!(desk.heard(id(1), true), None, "answered once");
    assert_eq!(desk.heard(id(9), true), None, "nobody asked");
}

#[test]
fn what_is_not_permitted_never_reaches_the_host() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(watcher(1)).unwrap();

    assert_eq!(declined(&mut desk, program, off(1), now), Reason::NotPermitted);
    assert!(!desk.has_turn(now));
}

#[test]
fn an_id_that_another_user_has_is_refused_while_it_is_open_and_while_the_host_keeps_its_verdict() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let (one, other) = (desk.join(root()).unwrap(), desk.join(root().of(2)).unwrap());

    desk.ask(one, off(1), now).unwrap();
    let waiting = declined(&mut desk, other, off(1), now);
    sent(&mut desk, now);
    let asked = declined(&mut desk, other, off(1), now);
    desk.heard(id(1), true);
    let kept = declined(&mut desk, other, off(1), now);

    assert_eq!([waiting, asked, kept], [Reason::BadRequest; 3]);
    assert_eq!(desk.ask(other, off(1), now + OWNED_FOR), Ok(()));
}

#[test]
fn an_id_means_one_request_also_within_a_program() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(root()).unwrap();
    desk.ask(program, status(1), now).unwrap();

    assert_eq!(declined(&mut desk, program, off(1), now), Reason::BadRequest);
    assert_eq!(sent(&mut desk, now), [1]);
}

#[test]
fn who_comes_back_by_another_connection_gets_the_answer_there() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let before = desk.join(root()).unwrap();
    desk.ask(before, off(1), now).unwrap();
    sent(&mut desk, now);

    desk.leave(before);
    let after = desk.join(root()).unwrap();
    desk.ask(after, off(1), now).unwrap();

    assert_eq!(sent(&mut desk, now), [1], "the host is asked again by the same id");
    assert_eq!(desk.heard(id(1), true), Some(after));
}

#[test]
fn what_a_gone_program_had_waiting_is_never_asked() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(root()).unwrap();
    desk.ask(program, off(1), now).unwrap();

    desk.leave(program);

    assert!(sent(&mut desk, now).is_empty());
}

#[test]
fn root_goes_first_and_the_others_take_turns_by_user() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let (ann, anns_other) = (desk.join(watcher(1)).unwrap(), desk.join(watcher(1)).unwrap());
    let (bob, stack) = (desk.join(watcher(2)).unwrap(), desk.join(root()).unwrap());
    for (program, id) in [(ann, 1), (ann, 2), (anns_other, 3), (bob, 4), (stack, 5)] {
        desk.ask(program, status(id), now).unwrap();
    }

    assert_eq!(sent(&mut desk, now), [5, 1, 4, 3, 2]);
}

#[test]
fn a_crowd_of_others_leaves_room_for_root_at_the_host() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    for user in 1..=10 {
        let program = desk.join(watcher(user)).unwrap();
        (0..8).for_each(|n| desk.ask(program, status(u8::try_from(user).unwrap() * 8 + n), now).unwrap());
    }
    let crowd = sent(&mut desk, now).len();
    let stack = desk.join(root()).unwrap();

    (240..243).for_each(|n| desk.ask(stack, off(n), now).unwrap());

    assert_eq!(crowd, 5);
    assert_eq!(sent(&mut desk, now), [240, 241, 242]);
}

#[test]
fn a_flood_of_others_leaves_tokens_for_root() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let (flood, stack) = (desk.join(watcher(1)).unwrap(), desk.join(root()).unwrap());
    let mut answered = 0;
    while desk.ask(flood, status(1), now).is_ok() && sent(&mut desk, now) == [1] {
        desk.heard(id(1), true);
        answered += 1;
    }

    desk.ask(stack, off(2), now).unwrap();

    assert_eq!(answered, 24, "the rest of the burst is not theirs");
    assert_eq!(sent(&mut desk, now), [2]);
    let later = desk.wake_at(now).unwrap();
    assert!(later > now && later < now + Duration::from_secs(2));
}

#[test]
fn the_host_has_one_list_and_four_orders_at_a_time_and_the_rest_waits() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(root()).unwrap();
    for n in [question(1, Ask::List), question(2, Ask::List), off(3), off(4), off(5), off(6), off(7)] {
        desk.ask(program, n, now).unwrap();
    }

    assert_eq!(sent(&mut desk, now), [1, 3, 4, 5, 6]);
    desk.heard(id(1), true);
    desk.heard(id(4), true);
    assert_eq!(sent(&mut desk, now), [2, 7]);
}

#[test]
fn a_ninth_request_of_a_program_is_busy() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(watcher(1)).unwrap();
    (1..=8).for_each(|n| desk.ask(program, status(n), now).unwrap());

    assert_eq!(declined(&mut desk, program, status(9), now), Reason::Busy);
}

#[test]
fn what_waited_too_long_is_told_and_never_asked() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(root()).unwrap();
    desk.ask(program, off(1), now).unwrap();
    let over = desk.wake_at(now).unwrap();

    assert_eq!(over, now + Duration::from_secs(10));
    assert!(desk.expire(over - Duration::from_millis(1)).is_empty());
    assert_eq!(desk.expire(over), [(program, id(1))]);
    assert!(sent(&mut desk, over).is_empty());
}

#[test]
fn who_asks_again_while_waiting_has_waited_all_the_while() {
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    for asked in [[(0, 10), (4, 10), (8, 10)], [(0, 10), (4, 6), (8, 2)]] {
        let mut desk = Desk::new(now);
        let program = desk.join(root()).unwrap();
        for (seconds, left) in asked {
            let mut question = off(1);
            question.request.timeout = Duration::from_secs(left);
            desk.ask(program, question, at(seconds)).unwrap();
        }

        assert_eq!([9, 10].map(|seconds| desk.expire(at(seconds)).len()), [0, 1]);
    }
}

#[test]
fn the_host_is_told_the_time_that_is_left() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(root()).unwrap();
    desk.ask(program, off(1), now).unwrap();

    let line = desk.next_line(now + Duration::from_secs(4)).unwrap();

    assert!(String::from_utf8(line).unwrap().contains("\"timeout_ms\":6000"));
}

#[test]
fn a_signed_line_passes_as_it_came() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(root()).unwrap();
    let signed = Question { signed: Some(b"fv2 mac:as it came\n".to_vec()), ..off(1) };
    desk.ask(program, signed, now).unwrap();

    assert_eq!(desk.next_line(now).unwrap(), b"\nfv2 mac:as it came\n");
    assert_eq!(desk.doubt_signed(), [program]);
}

#[test]
fn a_user_with_many_programs_and_users_without_rights_leave_room_for_others() {
    let mut desk = Desk::new(Instant::now());
    let mut join = |rights: &Rights| std::iter::from_fn(|| desk.join(rights.clone())).count();

    assert_eq!(join(&watcher(1)), 16);
    assert_eq!(join(&Rights::default().of(2)), 8);
    assert_eq!(join(&Rights::default().of(3)), 0);
    assert_eq!(join(&watcher(4)), 16);
    assert_eq!(join(&watcher(5)), 8);
    assert_eq!(join(&root()), 16);
}

fn signed(question: Question) -> Question {
    Question { signed: Some(encode_line(&question.request).unwrap()), ..question }
}

/// A list that may take an hour.
fn long_list(id: u8) -> Question {
    let question = question(id, Ask::List);
    let (timeout, delay) = (Duration::from_secs(3600), Duration::from_secs(600));
    Question { request: Request { timeout, delay, ..question.request }, ..question }
}

#[test]
fn a_signed_line_that_the_host_could_not_open_takes_no_room_any_more() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let (one, other) = (desk.join(watcher(1)).unwrap(), desk.join(watcher(2)).unwrap());
    desk.ask(one, signed(long_list(1)), now).unwrap();
    desk.ask(other, question(2, Ask::List), now).unwrap();
    assert_eq!(sent(&mut desk, now), [1]);

    let told = desk.doubt_signed();

    assert_eq!(told, [one]);
    assert_eq!(sent(&mut desk, now), [2]);
    assert_eq!(desk.heard(id(1), true), Some(one), "if it was another one, its answer still arrives");
}

#[test]
fn a_signed_line_of_which_the_host_says_nothing_takes_room_and_is_known_for_seconds_only() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let (one, other) = (desk.join(watcher(1)).unwrap(), desk.join(watcher(2)).unwrap());
    desk.ask(one, signed(long_list(1)), now).unwrap();
    desk.ask(other, question(2, Ask::List), now).unwrap();
    assert_eq!(sent(&mut desk, now), [1]);
    desk.leave(one);

    let room = now + HOLDS_UNHEARD;

    assert!(sent(&mut desk, room - Duration::from_millis(1)).is_empty());
    assert!(desk.wake_at(now).unwrap() <= room);
    assert_eq!(sent(&mut desk, room), [2]);
    desk.expire(now + KNOWN_UNHEARD);
    assert!(!desk.asked.contains_key(&id(1)));
}

#[test]
fn a_signed_order_that_the_host_works_on_keeps_its_room_and_its_program() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let stack = desk.join(root()).unwrap();
    (1..=5).for_each(|n| desk.ask(stack, signed(off(n)), now).unwrap());
    assert_eq!(sent(&mut desk, now), [1, 2, 3, 4]);
    (1..=4).for_each(|n| assert_eq!(desk.heard(id(n), false), Some(stack)));

    let late = now + Duration::from_secs(9);
    desk.doubt_signed();
    desk.expire(late);

    assert!(sent(&mut desk, late).is_empty());
    assert_eq!(desk.heard(id(1), true), Some(stack));
    assert_eq!(sent(&mut desk, late), [5]);
}

#[test]
fn a_doubted_line_that_is_said_again_needs_room_again() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let (one, other) = (desk.join(watcher(1)).unwrap(), desk.join(watcher(2)).unwrap());
    desk.ask(one, signed(long_list(1)), now).unwrap();
    sent(&mut desk, now);
    desk.doubt_signed();
    desk.ask(other, question(2, Ask::List), now).unwrap();
    sent(&mut desk, now);

    desk.ask(one, signed(long_list(1)), now).unwrap();

    assert!(sent(&mut desk, now).is_empty(), "the host makes one list at a time");
}

#[test]
fn a_list_of_another_holds_the_list_of_who_goes_first_back_for_a_moment_only() {
    for question_of_another in [long_list(1), signed(long_list(1))] {
        let now = Instant::now();
        let mut desk = Desk::new(now);
        let (other, stack) = (desk.join(watcher(1)).unwrap(), desk.join(root()).unwrap());
        desk.ask(other, question_of_another, now).unwrap();
        assert_eq!(sent(&mut desk, now), [1]);

        desk.ask(stack, question(2, Ask::List), now).unwrap();
        let moment = now + limits::LIST_OF_OTHERS;

        assert!(sent(&mut desk, moment - Duration::from_millis(1)).is_empty(), "the host would be busy");
        assert!(desk.wake_at(now).unwrap() <= moment);
        assert_eq!(sent(&mut desk, moment), [2]);
    }
}

#[test]
fn who_is_told_busy_does_not_get_the_answer_in_place_of_who_asked() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let (one, other) = (desk.join(root()).unwrap(), desk.join(root()).unwrap());
    desk.ask(one, status(9), now).unwrap();
    sent(&mut desk, now);
    (1..=8).for_each(|n| desk.ask(other, status(n), now).unwrap());

    assert_eq!(declined(&mut desk, other, status(9), now), Reason::Busy);
    assert_eq!(desk.heard(id(9), true), Some(one));
}

#[path = "again.rs"]
mod again;
#[path = "fair.rs"]
mod fair;
