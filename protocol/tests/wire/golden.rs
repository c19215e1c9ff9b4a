//! The bytes on the wire are those of `tests/golden/`, and `docs/protocol.md` shows the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fence_vmchannel_protocol::signing::Direction;
use fence_vmchannel_protocol::{Body, Decoder, Frame, LineError, Reply, Request, encode_line};

use crate::examples::{id, key, nonce, off, replies, requests};

/// Every golden file, by its name without `.line`.
fn golden() -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect()
}

/// The fenced blocks of `docs/protocol.md` that begin with three backticks, `fv2` and a name.
fn shown() -> BTreeMap<String, Vec<u8>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md")).unwrap();
    let blocks = text.split("\n```fv2 ").skip(1).map(|block| {
        let (name, rest) = block.split_once('\n').unwrap();
        let (lines, _) = rest.split_once("```").unwrap();
        (name.to_owned(), lines.as_bytes().to_vec())
    });
    blocks.collect()
}

fn only_frame(mut bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::default();
    let frame = decoder.push(&mut bytes).unwrap();
    assert_eq!(decoder.push(&mut bytes), None, "one line is one frame");
    frame
}

pub(crate) fn plain(bytes: &[u8]) -> Vec<u8> {
    let frame = only_frame(bytes);
    let Frame::Plain(json) = frame else { panic!("{frame:?}") };
    json
}

#[test]
fn every_request_is_written_and_read_as_its_golden_bytes() {
    let golden = golden();

    for (name, request) in requests() {
        let bytes = &golden[name];

        assert_eq!(
            String::from_utf8_lossy(bytes),
            String::from_utf8(encode_line(&request).unwrap()).unwrap()
        );
        assert_eq!(Request::parse(&plain(bytes)), Ok(request), "{name}");
    }
}

#[test]
fn every_reply_is_written_and_read_as_its_golden_bytes() {
    let golden = golden();

    for (name, reply) in replies() {
        let bytes = &golden[name];

        assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8(encode_line(&reply).unwrap()).unwrap());
        assert_eq!(Reply::parse(&plain(bytes)), Ok(reply), "{name}");
    }
}

#[test]
fn signed_lines_are_written_and_opened_as_their_golden_bytes() {
    let golden = golden();
    let (key_id, key) = key();
    let request = requests().into_iter().find(|(name, _)| *name == "request-off").unwrap().1;
    let reply = Reply { id: id(), body: Body::Verdict(off()) };

    assert_eq!(key.seal_request(&key_id, &nonce(), &request).unwrap(), golden["request-off-signed"]);
    assert_eq!(key.seal_reply(&key_id, &nonce(), &reply).unwrap(), golden["reply-off-signed"]);
    let Frame::Signed(line) = only_frame(&golden["request-off-signed"]) else { panic!("not signed") };
    assert_eq!(line.key(), &key_id);
    assert_eq!(Request::parse(&line.open(&key, &nonce(), Direction::Request).unwrap()), Ok(request));
}

#[test]
fn noise_is_told_apart_by_what_is_wrong_with_it() {
    let golden = golden();

    for (name, error) in [
        ("noise-boot-message", LineError::Form),
        ("noise-cut-line", LineError::Form),
        ("noise-no-tag", LineError::Form),
        ("noise-short-mac", LineError::Form),
        ("noise-wrong-crc", LineError::Crc),
    ] {
        assert_eq!(only_frame(&golden[name]), Frame::Noise(error), "{name}");
    }
}

#[test]
fn the_protocol_document_shows_exactly_the_golden_bytes() {
    let (shown, golden) = (shown(), golden());

    let names = |of: &BTreeMap<String, Vec<u8>>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&shown), names(&golden), "docs/protocol.md shows one block for each golden file");
    for (name, bytes) in &golden {
        assert_eq!(String::from_utf8_lossy(&shown[name]), String::from_utf8_lossy(bytes), "{name}");
    }
}

#[test]
fn only_progress_and_parts_of_a_list_are_followed_by_more() {
    let followed = replies().into_iter().filter(|(_, reply)| !reply.is_final());
    let names: Vec<_> = followed.map(|(name, _)| name).collect();

    assert_eq!(names, ["reply-progress", "reply-list-part"]);
}

#[test]
fn every_golden_file_belongs_to_a_test() {
    let told = requests().len() + replies().len();
    let signed = golden().keys().filter(|name| name.ends_with("-signed")).count();
    let noise = golden().keys().filter(|name| name.starts_with("noise-")).count();

    assert_eq!((told + 2 + 5, 2, 5), (golden().len(), signed, noise));
}
