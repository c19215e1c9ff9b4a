//! Hook notes.
//!
//! Properties: what was read is written within the limit and read again as the same, and stays the same bytes; a note with
//! a byte more or less is none; every field is within its limits.

use fence_vmchannel_protocol::note::{MAX_NAME_BYTES, MAX_NOTE_BYTES, MAX_WORD_BYTES, Note};

use crate::targets::domain_xml;

pub(crate) fn check(input: &[u8]) {
    let Ok(note) = Note::parse(input) else { return };

    assert!((1..=MAX_NAME_BYTES).contains(&note.domain.len()));
    assert!((1..=MAX_WORD_BYTES).contains(&note.operation.as_str().len()));
    assert!(note.sub_operation.len() <= MAX_WORD_BYTES && note.extra.len() <= MAX_WORD_BYTES);
    let bytes = note.encode().unwrap_or_default();
    assert!((1..=MAX_NOTE_BYTES).contains(&bytes.len()), "every note can be written");
    assert_eq!(Note::parse(&bytes).ok().as_ref(), Some(&note));
    assert_eq!(Note::parse(&bytes).ok().and_then(|again| again.encode().ok()), Some(bytes.clone()));
    let longer = [bytes.as_slice(), b"x"].concat();
    let shorter = bytes.split_last().map_or(bytes.as_slice(), |(_, rest)| rest);
    assert!(Note::parse(&longer).is_err() && Note::parse(shorter).is_err(), "cut or grown");
    if let Some(xml) = note.xml.whole() {
        assert!(input.ends_with(xml.as_bytes()), "the XML exactly as it came");
        domain_xml::check(xml.as_bytes());
    }
}
