//! A signed line opens with its own key, nonce and direction, and with nothing else.

use fence_vmchannel_protocol::signing::{Direction, Key, KeyError, KeyId, Nonce};
use fence_vmchannel_protocol::{Frame, LineError, Request, SignedLine};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::decoding::frames;
use crate::examples::{key, nonce, requests};
use crate::random::request;

fn sealed(request: &Request) -> Vec<u8> {
    let (key_id, key) = key();
    key.seal_request(&key_id, &nonce(), request).unwrap()
}

fn signed(line: &[u8]) -> Option<SignedLine> {
    match frames([line]).pop() {
        Some(Frame::Signed(signed)) => Some(signed),
        Some(Frame::Plain(_) | Frame::Legacy(_) | Frame::Noise(_)) | None => None,
    }
}

fn example() -> SignedLine {
    signed(&sealed(&requests()[0].1)).unwrap()
}

proptest! {
    #[test]
    fn the_right_key_opens(request in request()) {
        let json = signed(&sealed(&request)).unwrap().open(&key().1, &nonce(), Direction::Request);

        prop_assert_eq!(Request::parse(&json.unwrap()), Ok(request));
    }

    #[test]
    fn no_line_with_a_flipped_bit_opens(request in request(), at in any::<Index>(), bit in 0..8u8) {
        let mut line = sealed(&request);
        let at = at.index(line.len() - 1);
        line[at] ^= 1u8 << bit;

        if let Some(line) = signed(&line) {
            // A letter's case in the hex digits of the MAC, or the key's own name, is not under the MAC.
            let same = line.key() == &key().0;
            let opened = line.open(&key().1, &nonce(), Direction::Request);
            prop_assert!(!same || opened.is_err() || opened == Ok(as_signed(&request)), "{opened:?}");
        }
    }
}

fn as_signed(request: &Request) -> Vec<u8> {
    signed(&sealed(request)).unwrap().open(&key().1, &nonce(), Direction::Request).unwrap()
}

#[test]
fn another_key_does_not_open() {
    let other = Key::try_from(vec![7; 32]).unwrap();

    assert_eq!(example().open(&other, &nonce(), Direction::Request), Err(LineError::Mac));
}

#[test]
fn the_nonce_of_another_connection_does_not_open() {
    assert_eq!(example().open(&key().1, &Nonce([0; 16]), Direction::Request), Err(LineError::Mac));
}

#[test]
fn a_request_cannot_be_sent_back_as_a_reply() {
    assert_eq!(example().open(&key().1, &nonce(), Direction::Reply), Err(LineError::Mac));
}

#[test]
fn a_truncated_mac_is_noise() {
    let line = String::from_utf8(sealed(&requests()[0].1)).unwrap();
    let (head, json) = line.split_once(" {").unwrap();

    for digits in [1, 2, 32, 63] {
        let short = format!("{} {{{json}", &head[..head.len() - digits]);

        assert_eq!(frames([short.as_bytes()]), [Frame::Noise(LineError::Form)]);
    }
}

#[test]
fn keys_have_32_to_4096_bytes_and_are_never_printed() {
    for length in [0, 31, 4097] {
        assert_eq!(Key::try_from(vec![b's'; length]).unwrap_err(), KeyError::Length);
    }
    for length in [32, 4096] {
        assert_eq!(format!("{:?}", Key::try_from(vec![b's'; length]).unwrap()), "Key(..)");
    }
}

#[test]
fn key_ids_are_short_and_plain() {
    assert_eq!("Mon_1.a-b".parse::<KeyId>().unwrap().to_string(), "Mon_1.a-b");
    for id in ["", "a b", "a:b", "é", &"k".repeat(65)] {
        assert_eq!(id.parse::<KeyId>(), Err(KeyError::Id), "{id:?}");
    }
}

#[test]
fn a_key_file_of_text_may_end_with_a_line_ending_and_other_bytes_are_taken_as_they_are() {
    let binary = [&[0xff; 31], &b"\n"[..]].concat();

    assert!(Key::of_file(&binary).is_ok(), "all 32 bytes");
    assert_eq!(Key::of_file(&[&[b'k'; 31], &b"\n"[..]].concat()).unwrap_err(), KeyError::Length);
    assert!(Key::of_file(&[&[b'k'; 4096], &b"\r\n"[..]].concat()).is_ok());
}

#[test]
fn a_nonce_is_read_as_it_is_written_and_nothing_else_is_one() {
    let nonce = Nonce(*b"a nonce of 16 by");

    assert_eq!(nonce.to_string().parse(), Ok(nonce));
    for wrong in ["", "00", "+0112233445566778899aabbccddeeff", &"0".repeat(33), &"g".repeat(32)] {
        assert_eq!(wrong.parse::<Nonce>(), Err(KeyError::Nonce), "{wrong}");
    }
}
