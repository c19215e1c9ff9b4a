//! What is wrong with a request is told under its id, as soon as that can be read.

use fence_vmchannel_protocol::limits::{NAME_BYTES, TIMEOUT_DEFAULT};
use fence_vmchannel_protocol::{Ask, Name, Reply, Request, RequestError, RequestId, Target, WordError};

use crate::examples::{ID, id};

fn error(json: &str) -> RequestError {
    Request::parse(json.as_bytes()).expect_err(json)
}

fn with(keys: &str) -> String {
    format!(r#"{{"id":"{ID}",{keys}}}"#)
}

#[test]
fn a_request_without_a_right_id_is_answered_under_the_reserved_one() {
    let id = |id: &str| format!(r#"{{"id":{id},"op":"list"}}"#);
    for json in [
        id(&format!("\"{}\"", ID.to_uppercase())),
        id(&format!("\"{}\"", &ID[1..])),
        id(&format!("\"{ID}0\"")),
        id(&format!("\"+{}\"", &ID[1..])),
        id(&format!("\"{}\"", "0".repeat(32))),
        id("7"),
        id("null"),
        r#"{"op":"list"}"#.to_owned(),
        format!(r#"{{"id":"{ID}","id":"{ID}","op":"list"}}"#),
        format!(r#"["{ID}","list"]"#),
        format!(r#"{{"id":"{ID}","op":"list"}}{{}}"#),
        "\"list\"".to_owned(),
        "{".to_owned(),
        "[".repeat(4000),
        String::new(),
    ] {
        assert_eq!(error(&json).id, RequestId::NONE, "{json}");
    }
}

#[test]
fn a_wrong_key_is_told_under_the_requests_own_id_and_by_name() {
    let long = "n".repeat(NAME_BYTES + 1);
    for (keys, told) in [
        (r#""op":"destroy","target":"web2""#.to_owned(), "op"),
        (r#""op":"OFF","target":"web2""#.to_owned(), "op"),
        (r#""op":3"#.to_owned(), "op"),
        (r#""target":"web2""#.to_owned(), "op"),
        (r#""op":"off""#.to_owned(), "target"),
        (r#""op":"off","target":null"#.to_owned(), "target"),
        (r#""op":"off","target":["web2"]"#.to_owned(), "target"),
        (r#""op":"off","target":"""#.to_owned(), "name"),
        (r#""op":"off","target":"web\u0007""#.to_owned(), "control"),
        (r#""op":"off","target":"web\u009b2""#.to_owned(), "control"),
        (format!(r#""op":"off","target":"{long}""#), "1024"),
        (r#""op":"list","timeout_ms":99"#.to_owned(), "timeout_ms"),
        (r#""op":"list","timeout_ms":3600001"#.to_owned(), "timeout_ms"),
        (r#""op":"list","timeout_ms":-1"#.to_owned(), "timeout_ms"),
        (r#""op":"list","timeout_ms":500.5"#.to_owned(), "timeout_ms"),
        (r#""op":"list","timeout_ms":"500""#.to_owned(), "timeout_ms"),
        (r#""op":"list","timeout_ms":1e400"#.to_owned(), "JSON"),
        (r#""op":"list","delay_ms":600001"#.to_owned(), "delay_ms"),
        (r#""op":"list","delay_ms":true"#.to_owned(), "delay_ms"),
        (r#""op":"reboot","target":"web2","method":"warm""#.to_owned(), "method"),
        (r#""op":"reboot","target":"web2","method":1"#.to_owned(), "method"),
    ] {
        let error = error(&with(&keys));

        assert!(error.what.contains(told), "{keys}: {}", error.what);
        assert!(error.id == id() || told == "JSON", "{keys}");
    }
}

#[test]
fn unknown_keys_are_ignored() {
    let request =
        Request::parse(with(r#""op":"list","colour":{"deep":[1,2]},"when":null"#).as_bytes()).unwrap();

    assert_eq!((request.ask, request.timeout), (Ask::List, TIMEOUT_DEFAULT));
}

#[test]
fn a_null_key_is_an_absent_one() {
    let keys = r#""op":"list","timeout_ms":null,"delay_ms":null,"method":null,"target":null"#;

    assert_eq!(Request::parse(with(keys).as_bytes()), Request::parse(with(r#""op":"list""#).as_bytes()));
}

#[test]
fn an_id_is_printed_as_it_is_on_the_wire_also_where_programs_are_debugged() {
    assert_eq!(format!("{} {:?}", id(), id()), format!("{ID} {ID}"));
}

#[test]
fn a_target_is_a_uuid_only_when_written_with_hyphens() {
    let uuid = "3F0C2A52-0d5e-4c9b-9a6e-1f2d3c4b5a69";

    assert!(matches!(uuid.parse(), Ok(Target::Uuid(_))));
    assert!(matches!(uuid.replace('-', "").parse(), Ok(Target::Name(_))));
    assert!(matches!(format!("{{{uuid}}}").parse(), Ok(Target::Name(_))));
}

#[test]
fn names_are_bounded_in_bytes_and_hold_no_terminal_escapes() {
    let parse = |text: &str| text.parse::<Name>();

    assert!(parse(&"é".repeat(NAME_BYTES / 2)).is_ok());
    assert_eq!(parse(&"é".repeat(NAME_BYTES / 2 + 1)), Err(WordError::NameLength));
    assert_eq!(parse(""), Err(WordError::NameLength));
    for control in ["\u{1b}[2J", "a\nb", "a\0", "\u{7f}", "\u{9b}1m"] {
        assert_eq!(parse(control), Err(WordError::NameControl), "{control:?}");
    }
}

#[test]
fn an_object_that_is_not_exactly_one_kind_of_reply_is_none() {
    let guest = r#""guest":{"name":"web1","uuid":"3f0c2a52-0d5e-4c9b-9a6e-1f2d3c4b5a69","cluster":null}"#;
    for keys in [
        r#""took_ms":1"#.to_owned(),
        r#""verdict":"done","reason":"timeout""#.to_owned(),
        r#""verdict":"failed""#.to_owned(),
        r#""verdict":"failed","reason":"because""#.to_owned(),
        r#""verdict":"perhaps""#.to_owned(),
        r#""verdict":"done","state":"offline""#.to_owned(),
        r#""verdict":"done","took_ms":-1"#.to_owned(),
        r#""progress":"stopping","verdict":"done""#.to_owned(),
        r#""progress":"stopping","items":[],"more":true"#.to_owned(),
        r#""items":[]"#.to_owned(),
        r#""items":[],"more":false"#.to_owned(),
        r#""items":[],"more":true,"verdict":"done""#.to_owned(),
        r#""items":[],"more":false,"verdict":"failed","reason":"busy""#.to_owned(),
        r#""items":[],"more":false,"verdict":"done","state":"off""#.to_owned(),
        r#""server":"x","verdict":"done""#.to_owned(),
        format!(r#"{guest},"verdict":"failed","reason":"busy""#),
        format!(r#"{guest},"verdict":"done","state":"off""#),
        format!(r#"{guest},"verdict":"done","evidence":"process-gone""#),
        format!(r#"{guest},"verdict":"done","reason":"busy""#),
        guest.to_owned(),
    ] {
        assert!(Reply::parse(with(&keys).as_bytes()).is_err(), "{keys}");
    }
}
