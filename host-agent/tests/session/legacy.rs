//! Existing `fence_virt` clients on a guest's own channel: packed structs, one byte of answer, no request id.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::legacy::{Op, SERIAL_BYTES, SerialRequest};
use fence_vmchannel_protocol::{Ask, Ruling, encode_line};
use tokio::time::Instant;

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::pass;
use crate::guest::{Guest, off, request};

pub(crate) const SUCCESS: u8 = 0;
pub(crate) const FAILURE: u8 = 1;
const IS_OFF: u8 = 2;
pub(crate) const DENIED: u8 = 3;

pub(crate) async fn agent() -> Agent {
    Agent::with_clusters([("web", ["web1", "web2"]), ("db", ["db1", "db2"])]).await
}

pub(crate) fn asks(op: Op, target: &str, seqno: u32) -> [u8; SERIAL_BYTES] {
    SerialRequest { op, target: target.parse().ok(), seqno }.encode().unwrap()
}

impl Guest {
    pub(crate) fn sends_struct(&mut self, op: Op, target: &str, seqno: u32) {
        self.says(&asks(op, target, seqno));
    }

    /// The code of the next reply.
    pub(crate) async fn hears_code(&mut self) -> u8 {
        let reply = self.hears_bytes(5).await;
        assert_eq!(&reply[..4], b"abba", "{reply:?}");
        reply[4]
    }

    pub(crate) async fn asks_struct(&mut self, op: Op, target: &str) -> u8 {
        self.sends_struct(op, target, 7);
        self.hears_code().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_legacy_client_stops_starts_and_restarts_its_neighbour_and_hears_its_state() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    assert_eq!(guest.asks_struct(Op::Monitor, "").await, SUCCESS);
    assert_eq!(guest.asks_struct(Op::Status, "web2").await, SUCCESS);
    assert_eq!(guest.asks_struct(Op::Off, "web2").await, SUCCESS);
    assert!(!agent.runs("web2"));
    assert_eq!(guest.asks_struct(Op::Status, "web2").await, IS_OFF);
    assert_eq!(guest.asks_struct(Op::Off, "web2").await, SUCCESS, "it is off already");
    assert_eq!(guest.asks_struct(Op::On, "web2").await, SUCCESS);
    assert_eq!(guest.asks_struct(Op::Reboot, &uuid_of("web2").to_string()).await, SUCCESS);
    assert!(agent.runs("web2"));
    assert_eq!(agent.orders(), ["stop web2", "start web2", "stop web2", "start web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_legacy_client_is_denied_what_is_foreign_and_what_is_unknown_with_the_same_bytes() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    for op in [Op::Status, Op::Off, Op::On, Op::Reboot] {
        for target in ["db1", "nobody", "WEB2", &uuid_of("db1").to_string()] {
            assert_eq!(guest.asks_struct(op, target).await, DENIED, "{op:?} {target}");
        }
        assert_eq!(guest.asks_struct(op, "").await, FAILURE, "{op:?} of nobody");
    }
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_malformed_struct_is_a_failure_and_changes_nothing() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    let with = |place: std::ops::Range<usize>, byte: u8| {
        let mut bytes = asks(Op::Off, "web2", 1);
        bytes[place].fill(byte);
        bytes
    };

    for wrong in [with(4..5, 7), with(4..5, 255), with(6..70, b'w'), with(6..8, 0xff), with(6..7, 0x1b)] {
        guest.says(&wrong);
        assert_eq!(guest.hears_code().await, FAILURE);
    }
    assert_eq!(guest.asks_struct(Op::Null, "web2").await, FAILURE, "nothing is not success");
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_never_given_to_the_next_question() {
    let slow = Entry { stop_ms: 4_000, ..domain("web2", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), slow, domain("web3", "web")]).await;
    let mut guest = agent.guest("web1").await;
    guest.sends_struct(Op::Off, "web2", 1);
    pass(Duration::from_secs(1)).await; // and its client is killed

    guest.sends_struct(Op::Status, "nobody", 2);

    assert_eq!(guest.hears_code().await, DENIED);
    pass(Duration::from_secs(60)).await;
    assert_eq!(guest.has_in_its_port().await, b"", "nobody waits for the first answer any more");
    assert!(!agent.runs("web2"), "its order went on");
}

#[tokio::test(start_paused = true)]
async fn a_late_legacy_answer_is_not_given_to_a_client_that_speaks_in_lines() {
    let slow = Entry { stop_ms: 4_000, ..domain("web2", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), slow]).await;
    let mut guest = agent.guest("web1").await;
    guest.sends_struct(Op::Off, "web2", 1);
    pass(Duration::from_secs(1)).await;

    guest.says(b"\n");
    guest.sends(&request(Ask::Monitor));
    pass(Duration::from_secs(60)).await;

    let heard = guest.has_in_its_port().await;
    assert!(!heard.windows(4).any(|four| four == b"abba"), "{}", String::from_utf8_lossy(&heard));
}

#[tokio::test(start_paused = true)]
async fn both_dialects_take_turns_on_one_channel_and_a_line_begins_at_a_lines_beginning() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    for _ in 0..3 {
        guest.sends_struct(Op::Status, "web2", 1);
        assert_eq!(guest.hears_bytes(5).await, b"abba\0");
        guest.sends(&request(Ask::Monitor));
        assert_eq!(guest.hears_bytes(1).await, b"\n");
        assert!(guest.hears_line().await.starts_with(b"fv2 "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_struct_that_comes_twice_while_its_answer_is_awaited_is_answered_once() {
    let slow = Entry { stop_ms: 500, ..domain("web2", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), slow]).await;
    let mut guest = agent.guest("web1").await;

    guest.sends_struct(Op::Reboot, "web2", 9);
    guest.sends_struct(Op::Reboot, "web2", 9);

    assert_eq!(guest.hears_code().await, SUCCESS);
    pass(Duration::from_secs(60)).await;
    assert_eq!(guest.has_in_its_port().await, b"");
    assert_eq!(agent.orders(), ["stop web2", "start web2"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_reboot_once_more_is_refused_and_another_one_is_done() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    guest.sends_struct(Op::Reboot, "web2", 9);
    assert_eq!(guest.hears_code().await, SUCCESS);

    guest.sends_struct(Op::Reboot, "web2", 9);
    assert_eq!(guest.hears_code().await, FAILURE);
    assert_eq!(agent.orders().len(), 2);

    guest.sends_struct(Op::Reboot, "web2", 10);
    assert_eq!(guest.hears_code().await, SUCCESS);
    assert_eq!(agent.orders().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_off_with_the_number_of_an_earlier_one_is_not_answered_from_memory() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;
    assert_eq!(guest.asks_struct(Op::Off, "web2").await, SUCCESS);
    agent.somebody_starts("web2").await;
    assert!(agent.runs("web2"));

    assert_eq!(guest.asks_struct(Op::Off, "web2").await, SUCCESS);

    assert!(!agent.runs("web2"), "a false off");
    assert_eq!(agent.orders(), ["stop web2", "stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_stop_is_a_failure_before_its_client_gives_up() {
    let immortal = Entry { stop_ms: 600_000, immortal: true, ..domain("web2", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), immortal]).await;
    let mut guest = agent.guest("web1").await;
    let begun = Instant::now();

    assert_eq!(guest.asks_struct(Op::Off, "web2").await, FAILURE);

    assert!(begun.elapsed() < Duration::from_secs(26), "{:?}", begun.elapsed());
    pass(Duration::from_secs(120)).await;
    assert_eq!(guest.has_in_its_port().await, b"", "and nothing comes after that");
}

#[tokio::test(start_paused = true)]
async fn half_a_struct_is_dropped_after_a_second_and_holds_up_nobody() {
    let agent = agent().await;
    let (mut hostile, mut honest) = (agent.guest("web1").await, agent.guest("web2").await);
    let begun = Instant::now();

    hostile.says(&asks(Op::Off, "web2", 1)[..40]);
    assert_eq!(honest.asks_monitor().await.ruling, Ruling::Done);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    pass(Duration::from_millis(1_100)).await;

    assert_eq!(hostile.asks_struct(Op::Status, "web2").await, SUCCESS, "the next struct is a new one");
    assert!(agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_struct_that_comes_byte_by_byte_is_read() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    for byte in asks(Op::Status, "web2", 1) {
        guest.says(&[byte]);
        pass(Duration::from_millis(900)).await;
    }

    assert_eq!(guest.hears_code().await, SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn a_struct_after_noise_without_an_end_is_read_once_there_was_silence() {
    let agent = agent().await;
    let mut guest = agent.guest("web1").await;

    guest.says(b"\r\nDebian GNU/Linux 12 web1 ttyS1\r\n\r\nweb1 login: ");
    pass(Duration::from_millis(1_100)).await;
    let _told_that_it_is_noise = guest.has_in_its_port().await;

    assert_eq!(guest.asks_struct(Op::Status, "web2").await, SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn of_a_legacy_client_and_another_guest_that_fence_each_other_exactly_one_survives() {
    let slow = |name| Entry { stop_ms: 300, ..domain(name, "web") };
    let agent = Agent::with_domains(vec![slow("web1"), slow("web2")]).await;
    let (mut legacy, mut other) = (agent.guest("web1").await, agent.guest("web2").await);

    legacy.sends_struct(Op::Off, "web2", 1);
    crate::clock::settle().await;
    let refused = other.asks_off("web1").await;

    assert_eq!(legacy.hears_code().await, SUCCESS);
    assert_ne!(refused.ruling, Ruling::Done);
    assert!(agent.runs("web1") && !agent.runs("web2"));
}

#[tokio::test(start_paused = true)]
async fn a_condemned_guest_is_denied_in_the_legacy_dialect_too() {
    let slow = |name| Entry { stop_ms: 300, ..domain(name, "web") };
    let agent = Agent::with_domains(vec![slow("web1"), slow("web2")]).await;
    let (mut first, mut legacy) = (agent.guest("web1").await, agent.guest("web2").await);

    first.sends(&off("web2"));
    crate::clock::settle().await;

    assert_eq!(legacy.asks_struct(Op::Off, "web1").await, DENIED);
    assert!(agent.runs("web1"));
}

#[tokio::test(start_paused = true)]
async fn an_equal_off_in_both_dialects_is_one_order() {
    let slow = Entry { stop_ms: 300, ..domain("web3", "web") };
    let agent = Agent::with_domains(vec![domain("web1", "web"), domain("web2", "web"), slow]).await;
    let (mut legacy, mut other) = (agent.guest("web1").await, agent.guest("web2").await);

    legacy.sends_struct(Op::Off, "web3", 1);
    crate::clock::settle().await;

    assert_eq!(other.asks_off("web3").await.ruling, Ruling::Done);
    assert_eq!(legacy.hears_code().await, SUCCESS);
    assert_eq!(agent.orders(), ["stop web3"]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_structs_holds_up_nobody_and_is_answered_at_the_allowed_rate() {
    let agent = agent().await;
    let (mut hostile, mut honest) = (agent.guest("web1").await, agent.guest("web2").await);
    let begun = Instant::now();
    hostile.floods(&asks(Op::List, "", 1));
    let status = request(Ask::Status("web1".parse().unwrap()));

    for _ in 0..40 {
        honest.says(&encode_line(&status).unwrap());
        honest.hears().await;
    }

    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_requests_must_be_signed_cannot_do_without_in_the_legacy_dialect() {
    let agent = agent().await;
    agent.has_rules("[[signed]]\nfrom = ['web1']\nkeys = []\n");
    let mut guest = agent.guest("web1").await;

    for (op, target) in [(Op::Off, "web2"), (Op::Status, "web2"), (Op::List, "")] {
        assert_eq!(guest.asks_struct(op, target).await, DENIED, "{op:?}");
    }
    assert!(agent.orders().is_empty());
    assert_eq!(agent.guest("web2").await.asks_struct(Op::Off, "web1").await, SUCCESS);
}
