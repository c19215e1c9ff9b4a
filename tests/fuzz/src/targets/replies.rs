//! Replies, as the client reads them from a host that it need not believe.
//!
//! Properties: what was read is written and read again as the same, but for a `detail` that is too long; written again it
//! is the same line; a list is split into lines without loss.

use fence_vmchannel_protocol::limits::DETAIL_BYTES;
use fence_vmchannel_protocol::{Body, Item, Reply, RequestId, encode_line};

use crate::targets::requests::only_json;

pub(crate) fn check(json: &[u8]) {
    let Ok(mut reply) = Reply::parse(json) else { return };
    if let Body::Items(items, _) = &reply.body {
        is_split_without_loss(reply.id, items);
    }
    // A reply of others may be longer than ours ever are.
    let Ok(line) = encode_line(&reply) else { return };

    let again = Reply::parse(&only_json(&line));

    assert_eq!(again.as_ref().ok().and_then(|again| encode_line(again).ok()), Some(line), "stable");
    if let Body::Verdict(verdict) = &mut reply.body {
        verdict.detail = verdict.detail.as_deref().map(shortened);
    }
    assert_eq!(again, Ok(reply));
}

/// As much of a text as a `detail` may have, with spaces for control characters.
fn shortened(text: &str) -> String {
    let end = (0..=DETAIL_BYTES.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().replace(char::is_control, " ")
}

fn is_split_without_loss(id: RequestId, items: &[Item]) {
    let lines = Reply::list_lines(id, items.to_vec()).unwrap_or_default();
    let mut read = Vec::new();
    let mut more_after = Vec::new();
    for line in &lines {
        if let Ok(Reply { body: Body::Items(part, more), .. }) = Reply::parse(&only_json(line)) {
            read.extend(part);
            more_after.push(more);
        }
    }

    assert_eq!(read, items);
    assert_eq!(more_after.pop(), Some(false), "the last line is the last");
    assert!(more_after.iter().all(|more| *more) && more_after.len() + 1 == lines.len(), "and no other");
}
