//! Signed lines.
//!
//! In: two bytes that say where and how a line is damaged, then a request's JSON or anything.
//! Properties: a line opens with its own key, nonce and direction as what was signed; damaged, it never opens as anything
//! else; no line that was not sealed opens at all.

use fence_vmchannel_protocol::signing::{Direction, Key, KeyId, Nonce};
use fence_vmchannel_protocol::{Decoder, Frame, Request, SignedLine};

const NONCE: Nonce = Nonce(*b"a nonce of 16 by");
const OTHER_NONCE: Nonce = Nonce(*b"another of 16 by");

pub(crate) fn check(input: &[u8]) {
    let Some((key_id, key)) = key() else { return };
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        if let Some(forged) = signed(line) {
            assert!(forged.open(&key, &NONCE, Direction::Request).is_err(), "nobody sealed this");
        }
    }
    let ([at, mask], json) =
        input.split_first_chunk::<2>().map_or(([0, 1], input), |(two, rest)| (*two, rest));
    let Ok(request) = Request::parse(json) else { return };
    let sealed = key.seal_request(&key_id, &NONCE, &request).unwrap_or_default();

    let open = |nonce, direction| signed(&sealed).and_then(|line| line.open(&key, nonce, direction).ok());
    let json = open(&NONCE, Direction::Request).unwrap_or_default();
    assert_eq!(Request::parse(&json).as_ref(), Ok(&request));
    assert_eq!(open(&NONCE, Direction::Reply), None, "sent back");
    assert_eq!(open(&OTHER_NONCE, Direction::Request), None, "of another connection");

    let mut damaged = sealed.clone();
    if let Some(byte) = damaged.get_mut(usize::from(at) * 7 % sealed.len()) {
        *byte ^= mask.max(1);
    }
    if let Some(line) = signed(&damaged) {
        // The case of the MAC's hex digits and the key's own name are not under the MAC.
        let opened = line.open(&key, &NONCE, Direction::Request).ok();
        assert!(opened.is_none_or(|opened| opened == json), "a damaged line says something else");
    }
}

fn key() -> Option<(KeyId, Key)> {
    let key = Key::try_from(b"an example key of 32 bytes, no m".to_vec());
    Some(("monitoring".parse().ok()?, key.ok()?))
}

fn signed(line: &[u8]) -> Option<SignedLine> {
    match Decoder::default().push(&mut &*line) {
        Some(Frame::Signed(signed)) => Some(signed),
        Some(Frame::Plain(_) | Frame::Legacy(_) | Frame::Noise(_)) | None => None,
    }
}
