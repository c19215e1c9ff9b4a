//! Options on standard input: `key=value` lines, as cluster software gives them to fence agents.
//!
//! In:  the bytes of standard input. Out: [`Written`]. See ClusterLabs' FenceAgentAPI.md.
//!
//! Invariant: an unknown key is told and passed over, never an error: cluster software sends what it likes.

use std::io::Read;

use super::{OptionsError, Written};

/// Far more than any cluster software sends.
const INPUT_BYTES: u64 = 64 * 1024;

/// Sent by cluster software to every agent and of no meaning here.
const OF_NO_MEANING: [&str; 3] = ["agent", "name", "nodeid"];

pub(super) fn read(input: impl Read) -> Result<Written, OptionsError> {
    let mut bytes = Vec::new();
    let taken = input.take(INPUT_BYTES + 1).read_to_end(&mut bytes).map_err(OptionsError::Input)?;
    if taken as u64 > INPUT_BYTES {
        return Err(OptionsError::InputLong);
    }
    let text = String::from_utf8(bytes).map_err(|_| OptionsError::InputText)?;
    let mut written = Written::default();
    for line in text.lines() {
        let line = trim(line);
        if !line.is_empty() && !line.starts_with('#') {
            take_line(&mut written, line);
        }
    }
    Ok(written)
}

fn take_line(written: &mut Written, line: &str) {
    let Some((key, value)) = line.split_once('=') else {
        return written
            .warnings
            .push(format!("standard input: {line:?} is not of the form key=value; ignored"));
    };
    let value = trim(value).to_owned();
    match trim(key) {
        "action" => written.action = Some(value),
        "option" => written.legacy_action = Some(value),
        key @ ("plug" | "port" | "domain") => {
            written.plugs.retain(|(earlier, _)| earlier != key);
            written.plugs.push((key.to_owned(), value));
        }
        "nodename" => written.nodename = Some(value),
        "uuid" | "use_uuid" => written.uuid = Some(value),
        "device" => written.device = Some(value.into()),
        "timeout" => written.timeout = Some(value),
        "power_timeout" => written.power_timeout = Some(value),
        "delay" => written.delay = Some(value),
        "verbose" => written.verbose = Some(value),
        key if OF_NO_MEANING.contains(&key) => {}
        key => written.warnings.push(format!("standard input: unknown key {key:?}; ignored")),
    }
}

/// Without spaces around; control characters stay and are refused where they matter.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r'])
}
