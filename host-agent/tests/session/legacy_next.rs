//! Answers of `fence_virt` clients and whoever asks next: nothing tells whose an answer is.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::legacy::Op;
use tokio::time::advance;

use crate::agent::{Agent, domain};
use crate::clock::pass;
use crate::guest::Guest;
use crate::legacy::{DENIED, FAILURE, SUCCESS, agent, asks};

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_said_while_the_next_question_is_coming_in() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    let (first, next) = (asks(Op::Monitor, "", 1), asks(Op::Off, "db1", 2));
    let (begin, end) = next.split_at(40);

    guest.says(&[&first[..], begin].concat());
    pass(Duration::from_millis(500)).await;
    assert_eq!(guest.has_in_its_port().await, b"", "it would be taken for the next one's");
    guest.says(end);

    assert_eq!(guest.hears_code().await, DENIED);
    assert_eq!(guest.has_in_its_port().await, b"");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_said_once_what_came_after_its_question_is_no_question() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    guest.says(&[&asks(Op::Monitor, "", 1)[..], b"ab"].concat());

    assert_eq!(guest.hears_code().await, SUCCESS);
}

/// A host on which web2 takes most of a second to stop, and web1's connection, over which that was just asked.
async fn asks_what_takes_a_while() -> (Agent, Guest) {
    let slow = Entry { stop_ms: 900, ..domain("web2", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), slow, domain("db1", "db")]).await;
    let mut guest = agent.guest("web1").await;
    guest.sends_struct(Op::Off, "web2", 1);
    pass(Duration::from_millis(500)).await;
    (agent, guest)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_while_the_next_question_is_coming_in_is_not_said() {
    let (agent, mut guest) = asks_what_takes_a_while().await;
    let next = asks(Op::Off, "db1", 2);
    let (begin, end) = next.split_at(40);

    guest.says(begin);
    pass(Duration::from_millis(700)).await;
    assert!(!agent.runs("web2"));
    assert_eq!(guest.has_in_its_port().await, b"", "it would be taken for the next one's");
    guest.says(end);

    assert_eq!(guest.hears_code().await, DENIED);
    assert_eq!(guest.has_in_its_port().await, b"");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_said_whatever_noise_comes_before_it() {
    for noise in [&[&b"\n"[..]][..], &[b"\r\n"], &[b"f"], &[b"foo\n", b"bar\n"], &[b"foo\n", b"b", b"\n"]] {
        let (_agent, mut guest) = asks_what_takes_a_while().await;

        for bytes in noise {
            guest.says(bytes);
            pass(Duration::from_millis(20)).await;
        }
        pass(Duration::from_millis(300)).await;
        guest.has_in_its_port().await; // what was said of noise; nothing else is said before it is read
        pass(Duration::from_millis(1500)).await;

        let heard = guest.has_in_its_port().await;
        assert!(heard.ends_with(b"abba\0"), "{noise:?}: {heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_said_also_where_a_newline_came_with_its_question() {
    let agent = agent().await;
    for end in [&b"\n"[..], b"\r\n"] {
        let mut guest = agent.guest("web1").await;

        guest.says(&[&asks(Op::Monitor, "", 1)[..], end].concat());

        assert_eq!(guest.hears_code().await, SUCCESS);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_while_the_agent_was_held_up_is_a_failure_whatever_it_was() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    agent.keeps_its_pulse().await;

    guest.sends_struct(Op::Monitor, "", 1);
    advance(Duration::from_secs(4)).await; // at once
    assert_eq!(guest.hears_code().await, FAILURE, "who asked it may be gone, and another one listen");
    pass(Duration::from_secs(2)).await;

    assert_eq!(guest.asks_struct(Op::Monitor, "").await, SUCCESS);
}
