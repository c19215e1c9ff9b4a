//! Lines of the protocol as the bench needs them, on both sides of a pipe.
//!
//! In:  lines, or nothing. Out: frames, requests.

use std::time::Duration;

use fence_vmchannel_protocol::{Ask, Decoder, Frame, Method, Request, RequestId};

/// Longer than any verdict takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(55);

/// The request with these words and a new id.
pub(crate) fn request(ask: Ask) -> std::io::Result<Request> {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let id = uuid.trim().replace('-', "").parse::<RequestId>().map_err(std::io::Error::other)?;
    Ok(Request { id, ask, timeout: PATIENCE, delay: Duration::ZERO, method: Method::default() })
}

/// The frame of a line that has lost its end.
pub(crate) fn frame(line: &str) -> Option<Frame> {
    let mut decoder = Decoder::default();
    decoder.push(&mut line.as_bytes()).or_else(|| decoder.push(&mut b"\n".as_slice()))
}
