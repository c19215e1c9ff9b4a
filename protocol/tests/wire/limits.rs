//! Every valid message fits into one line of printable ASCII.

use fence_vmchannel_protocol::limits::{DETAIL_BYTES, LINE_BYTES, NAME_BYTES};
use fence_vmchannel_protocol::{
    Body, Frame, Item, Name, PowerState, Reason, Reply, Request, Verdict, encode_line,
};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::decoding::frames;
use crate::examples::{id, key, nonce, requests};
use crate::golden::plain;
use crate::random::{HARD, item, longest, reply, request};

fn is_one_line(line: &[u8]) -> bool {
    let (end, text) = line.split_last().unwrap();
    *end == b'\n' && text.iter().all(|b| (b' '..=b'~').contains(b)) && line.len() <= LINE_BYTES
}

fn listed(lines: &[Vec<u8>]) -> (Vec<Item>, Vec<bool>) {
    let parts = lines.iter().map(|line| {
        let body = Reply::parse(&plain(line)).unwrap().body;
        let Body::Items(items, more) = body else { panic!("{body:?}") };
        (items, more)
    });
    let (items, more): (Vec<_>, Vec<_>) = parts.unzip();
    (items.concat(), more)
}

proptest! {
    #[test]
    fn every_request_is_one_line_also_when_signed(request in request()) {
        let (key_id, key) = key();

        prop_assert!(is_one_line(&encode_line(&request).unwrap()));
        prop_assert!(is_one_line(&key.seal_request(&key_id, &nonce(), &request).unwrap()));
    }

    #[test]
    fn every_reply_is_one_line_also_when_signed(reply in reply()) {
        let (key_id, key) = key();

        prop_assert!(is_one_line(&encode_line(&reply).unwrap()));
        prop_assert!(is_one_line(&key.seal_reply(&key_id, &nonce(), &reply).unwrap()));
    }

    #[test]
    fn a_list_of_any_items_is_split_into_lines_without_loss(items in vec(item(), 0..60)) {
        let lines = Reply::list_lines(id(), items.clone()).unwrap();

        prop_assert!(lines.iter().all(|line| is_one_line(line)));
        let (read, more) = listed(&lines);
        prop_assert_eq!(read, items);
        prop_assert_eq!(more.iter().filter(|more| !**more).count(), 1);
        prop_assert_eq!(more.last(), Some(&false));
    }
}

#[test]
fn the_longest_names_fit_whatever_they_are_made_of() {
    for text in HARD {
        let request = encode_line(&with_target(&longest(text))).unwrap();

        let item = Item { name: longest(text), uuid: Uuid::max(), state: Some(PowerState::Off) };
        let lines = Reply::list_lines(id(), vec![item; 3]).unwrap();

        assert!(is_one_line(&request), "{text:?}: {}", request.len());
        assert!(lines.iter().all(|line| is_one_line(line)), "{text:?}");
    }
}

fn with_target(name: &Name) -> Request {
    let target = name.to_string().parse().unwrap();
    let (_, request) = requests().into_iter().find(|(name, _)| *name == "request-status").unwrap();
    Request { ask: fence_vmchannel_protocol::Ask::Status(target), ..request }
}

#[test]
fn an_empty_list_is_one_final_line() {
    let lines = Reply::list_lines(id(), Vec::new()).unwrap();

    assert_eq!(listed(&lines), (Vec::new(), vec![false]));
}

#[test]
fn a_list_takes_no_more_lines_than_it_needs() {
    let named = |bytes: usize, number| {
        let item = Item { name: "n".repeat(bytes).parse().unwrap(), uuid: Uuid::max(), state: None };
        Reply::list_lines(id(), vec![item; number]).unwrap().len()
    };

    assert_eq!((named(4, 47), named(4, 48)), (1, 2));
    assert_eq!((named(912, 4), named(913, 4)), (1, 2), "four items of 992 bytes fill a line");
}

#[test]
fn a_detail_is_cut_at_a_character_and_cleaned_of_controls() {
    let told = format!("\u{1b}[31m{}", "é".repeat(NAME_BYTES));

    let line = encode_line(&Reply { id: id(), body: Body::Verdict(Verdict::failed(Reason::Timeout, told)) });

    let json = plain(&line.unwrap());
    let Body::Verdict(verdict) = Reply::parse(&json).unwrap().body else { panic!("no verdict") };
    let detail = verdict.detail.unwrap();
    assert!(detail.starts_with(" [31mé") && detail.len() <= DETAIL_BYTES, "{detail}");
    assert!(detail.len() >= DETAIL_BYTES - 1);
}

#[test]
fn the_crc_is_crc_32c() {
    // RFC 3720, B.4; the check value of the nine digits is e3069283.
    let line = b"fv2 crc:e3069283 123456789\n";

    assert_eq!(frames([line.as_slice()]), [Frame::Plain(b"123456789".to_vec())]);
}
