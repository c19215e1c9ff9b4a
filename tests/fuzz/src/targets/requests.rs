//! Requests.
//!
//! Properties: what was read is written within one line and read again as the same; every field is within its limits; an
//! error is told under the request's own id or the reserved one.

use fence_vmchannel_protocol::limits::{DELAY_MAX, NAME_BYTES, TIMEOUT_MAX, TIMEOUT_MIN};
use fence_vmchannel_protocol::{Decoder, Frame, Request, RequestId, Target, encode_line};

pub(crate) fn check(json: &[u8]) {
    let request = match Request::parse(json) {
        Ok(request) => request,
        Err(error) => {
            let id = error.id.to_string();
            let written = json.windows(id.len()).any(|window| window == id.as_bytes());
            // An id may be written with JSON's escapes.
            assert!(
                error.id == RequestId::NONE || written || json.contains(&b'\\'),
                "an id of its own: {id}"
            );
            assert!(!error.what.chars().any(char::is_control), "{:?}", error.what);
            return;
        }
    };

    assert_ne!(request.id, RequestId::NONE);
    assert!((TIMEOUT_MIN..=TIMEOUT_MAX).contains(&request.timeout), "{:?}", request.timeout);
    assert!(request.delay <= DELAY_MAX, "{:?}", request.delay);
    if let Some(Target::Name(name)) = request.ask.target() {
        assert!((1..=NAME_BYTES).contains(&name.as_str().len()));
        assert!(!name.as_str().chars().any(char::is_control), "{name:?}");
    }
    let line = encode_line(&request).unwrap_or_default();
    assert!(!line.is_empty(), "every request fits one line");
    let again = only_json(&line);
    assert_eq!(Request::parse(&again).as_ref(), Ok(&request));
    assert_eq!(encode_line(&request).unwrap_or_default(), line);
}

/// The JSON of a line that we wrote.
pub(crate) fn only_json(line: &[u8]) -> Vec<u8> {
    let mut rest = line;
    let frame = Decoder::default().push(&mut rest);
    assert!(rest.is_empty(), "one line");
    let Some(Frame::Plain(json)) = frame else { return Vec::new() };
    assert!(json.iter().all(|byte| (b' '..=b'~').contains(byte)), "printable ASCII");
    json
}
