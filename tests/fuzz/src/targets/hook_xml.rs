//! A domain's XML, as the hook reads it: perhaps only its beginning.
//!
//! Properties: a placeholder is made only directly in the agent's directory and under one UUID; few; also of a cut XML; and
//! for each socket that the agent would make for this domain, since a VM does not start without it.

use std::path::{Path, PathBuf};

use fence_vmchannel_host_agent::domain::Mode;
use fence_vmchannel_host_agent::domain_xml::parse;
use fence_vmchannel_libvirt_hooks::domain_xml::wanted_sockets;
use uuid::Uuid;

use crate::oracle::xml;
use crate::targets::domain_xml::GUESTS;

/// More than any domain of ours has.
const MANY: usize = 16;

pub(crate) fn check(input: &[u8]) {
    let wanted = wanted_sockets(input, Path::new(GUESTS)).sockets;
    are_of_one_domain(&wanted);
    let half = input.get(..input.len() / 2).unwrap_or_default();
    are_of_one_domain(&wanted_sockets(half, Path::new(GUESTS)).sockets);
    if let Ok(text) = std::str::from_utf8(input) {
        are_what_the_agent_makes(&wanted, text);
    }
}

fn are_of_one_domain(sockets: &[PathBuf]) {
    assert!(sockets.len() <= MANY);
    let mut owners: Vec<Option<Uuid>> = sockets.iter().map(|path| owner(path)).collect();
    assert!(sockets.iter().all(|path| path.parent() == Some(Path::new(GUESTS))), "{sockets:?}");
    owners.dedup();
    assert!(owners.len() <= 1 && owners.iter().all(Option::is_some), "{sockets:?}");
}

/// The UUID that a socket's file name begins with.
fn owner(path: &Path) -> Option<Uuid> {
    let name = path.file_name()?.to_str()?;
    let uuid = name.get(..36)?;
    let rest = name.get(36..)?;
    uuid.parse().ok().filter(|_| rest.starts_with(['.', '-']))
}

fn are_what_the_agent_makes(wanted: &[PathBuf], text: &str) {
    let (Ok(read), Some(_)) = (parse(text, Path::new(GUESTS)), xml::read(text)) else { return };
    // As libvirt writes it: once, in plain lower case.
    if text.matches("<uuid").count() != 1 || !text.contains(&format!("<uuid>{}</uuid>", read.uuid)) {
        return;
    }
    let made = read.channels.iter().filter(|channel| channel.mode == Mode::Connect);
    for channel in made.take(MANY) {
        assert!(
            wanted.iter().any(|path| **path == *channel.path) || wanted.len() == MANY,
            "{channel:?}: {wanted:?}"
        );
    }
}
