//! What the host could not read is asked again.

use super::*;

#[test]
fn a_line_that_the_host_could_not_read_is_sent_again() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(root()).unwrap();
    desk.ask(program, off(1), now).unwrap();
    desk.ask(program, off(2), now).unwrap();
    sent(&mut desk, now);
    desk.heard(id(2), false);

    desk.ask_again(now);

    assert_eq!(sent(&mut desk, now), [1]);
}

#[test]
fn a_line_that_is_sent_again_tells_what_is_left_of_its_programs_time() {
    let now = Instant::now();
    let mut desk = Desk::new(now);
    let program = desk.join(root()).unwrap();
    let question = off(1);
    let whole = question.request.timeout;
    desk.ask(program, question, now).unwrap();
    desk.next_line(now).unwrap();

    desk.ask_again(now);
    let line = desk.next_line(now + whole / 2).unwrap();

    let json = String::from_utf8(line).unwrap();
    assert!(json.contains(&format!("\"timeout_ms\":{}", (whole / 2).as_millis())), "{json}");
}
