use super::{DomainXml, MAX_NAME_BYTES, MAX_NOTE_BYTES, MAX_XML_BYTES, Note, NoteError, Operation};
use proptest::prelude::*;

fn note() -> Note {
    Note {
        operation: Operation::Prepare,
        sub_operation: "begin".to_owned(),
        extra: "-".to_owned(),
        domain: "web1".to_owned(),
        xml: DomainXml::Whole("<domain/>\n".to_owned()),
    }
}

#[test]
fn a_note_is_a_header_line_and_the_xml_as_it_came() {
    let bytes = note().encode().unwrap();

    assert_eq!(Note::parse(&bytes).unwrap().xml.whole(), Some("<domain/>\n"));
    let header = r#"{"note":1,"operation":"prepare","sub_operation":"begin","extra":"-","domain":"web1","xml_bytes":10}"#;
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{header}\n<domain/>\n"));
}

#[test]
fn the_largest_note_fits_its_limit() {
    let name = "\u{1}".repeat(MAX_NAME_BYTES);
    let largest = Note { domain: name, xml: DomainXml::Whole("x".repeat(MAX_XML_BYTES)), ..note() };

    let bytes = largest.encode().unwrap();

    assert!(bytes.len() <= MAX_NOTE_BYTES);
    assert_eq!(Note::parse(&bytes).unwrap(), largest);
}

#[test]
fn a_notes_limit_leaves_little_room_beside_its_xml() {
    assert!((MAX_XML_BYTES..MAX_XML_BYTES + 16 * 1024).contains(&MAX_NOTE_BYTES));
}

#[test]
fn every_operation_of_libvirt_is_known_by_its_word() {
    for (word, operation) in [
        ("prepare", Operation::Prepare),
        ("start", Operation::Start),
        ("started", Operation::Started),
        ("stopped", Operation::Stopped),
        ("release", Operation::Release),
        ("migrate", Operation::Migrate),
        ("restore", Operation::Restore),
        ("reconnect", Operation::Reconnect),
        ("attach", Operation::Attach),
        ("later", Operation::Other("later".to_owned())),
    ] {
        assert_eq!(Operation::from(word.to_owned()), operation);
        assert_eq!(operation.as_str(), word);
    }
}

#[test]
fn names_and_xml_over_their_limits_are_refused() {
    let name = Note { domain: "n".repeat(MAX_NAME_BYTES + 1), ..note() };
    let nameless = Note { domain: String::new(), ..note() };
    let xml = Note { xml: DomainXml::Whole("x".repeat(MAX_XML_BYTES + 1)), ..note() };

    for too_long in [name, nameless, xml] {
        assert!(matches!(too_long.encode(), Err(NoteError::Length { .. })));
    }
}

#[test]
fn a_note_cut_short_or_grown_is_no_note() {
    let whole = note().encode().unwrap();
    let mut grown = whole.clone();
    grown.push(b'x');

    assert!(matches!(Note::parse(&whole[..whole.len() - 1]), Err(NoteError::Cut { said: 10, found: 9 })));
    assert!(matches!(Note::parse(&grown), Err(NoteError::Cut { .. })));
    assert!(matches!(Note::parse(&whole[..20]), Err(NoteError::NoHeader)));
    assert!(matches!(Note::parse(b""), Err(NoteError::NoHeader)));
}

#[test]
fn another_versions_note_is_named_as_such() {
    let newer = String::from_utf8(note().encode().unwrap()).unwrap().replace("\"note\":1", "\"note\":2");

    assert!(matches!(Note::parse(newer.as_bytes()), Err(NoteError::Version(2))));
}

#[test]
fn a_note_may_say_that_the_xml_is_omitted() {
    let omitted = Note { xml: DomainXml::Omitted, ..note() };

    let read = Note::parse(&omitted.encode().unwrap()).unwrap();

    assert_eq!(read.xml.whole(), None);
    assert_eq!(read, omitted);
}

fn any_note() -> impl Strategy<Value = Note> {
    let words = prop::sample::select(vec![
        "prepare",
        "start",
        "started",
        "stopped",
        "release",
        "migrate",
        "restore",
        "reconnect",
        "attach",
        "later",
    ]);
    let xml = prop::option::of(any::<String>());
    (words, "[ -~]{0,64}", "[a-z-]{0,64}", "\\PC{1,200}", xml).prop_map(|(word, sub, extra, domain, xml)| {
        Note {
            operation: Operation::from(word.to_owned()),
            sub_operation: sub,
            extra,
            domain,
            xml: xml.map_or(DomainXml::Omitted, DomainXml::Whole),
        }
    })
}

proptest! {
    #[test]
    fn a_note_survives_the_way_there_and_back(note in any_note()) {
        prop_assert_eq!(Note::parse(&note.encode().unwrap()).unwrap(), note);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Note::parse(&bytes);
    }

    #[test]
    fn no_change_to_a_note_makes_the_parser_panic(note in any_note(), at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = note.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;

        let _ = Note::parse(&bytes);
    }
}
