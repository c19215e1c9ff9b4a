//! Reads a domain's XML: who it is, its cluster, and which of its channels are ours to serve.
//!
//! In:  the XML that libvirt gives, and our directory of guests' sockets. Out: a [`DomainXml`].
//!
//! Invariant: total and bounded. Elements count only at their place in the tree, and the label only in our namespace; a
//! label or channel that is in doubt is not taken, and `problems` says so.

mod ports;
mod reader;

use std::path::Path;

use fence_vmchannel_protocol::{Name, WordError};
use nix::unistd::{Group, User};
use uuid::Uuid;

use crate::domain::{ChannelSpec, Owner};

/// The namespace of our element in a domain's metadata.
pub const NAMESPACE: &str = "urn:fence-vmchannel:1";
/// The name of the virtio port that is ours.
pub const PORT_NAME: &str = "org.fence_vmchannel.0";
/// The longest XML that is read, in bytes.
pub const MAX_XML: usize = 1 << 20;
/// The longest cluster label, in bytes.
const MAX_LABEL: usize = 128;

/// What a domain's XML says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainXml {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its name.
    pub name: Name,
    /// Its cluster label, if it has exactly one valid one.
    pub cluster: Option<String>,
    /// The channels that are ours, each path once.
    pub channels: Vec<ChannelSpec>,
    /// libvirt's DAC label: who its QEMU runs as, while it runs; else what an administrator may have written.
    dac_label: String,
    /// What looks like ours but was not taken, for the operator.
    pub problems: Vec<String>,
}

impl DomainXml {
    /// Who its QEMU runs as; known while it runs. Asks the name services where an administrator wrote names, and they may hang.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        owner(&self.dac_label)
    }
}

/// Why a domain's XML cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    /// It is longer than [`MAX_XML`].
    #[error("the domain's XML has {0} bytes, more than {MAX_XML}")]
    TooLong(usize),
    /// It is not well-formed.
    #[error("the domain's XML is not well-formed")]
    Malformed(#[from] quick_xml::Error),
    /// It brings entities of its own, ends early, or is about something else.
    #[error("the XML is not that of a domain: {0}")]
    NotADomain(&'static str),
    /// Its UUID is missing, double or invalid.
    #[error("the domain's XML has no valid uuid")]
    Uuid,
    /// Its name is not usable.
    #[error("the domain's name is not usable")]
    Name(#[from] WordError),
}

/// Reads the XML of one domain. `guests_dir` is the directory in which the agent makes sockets.
pub fn parse(xml: &str, guests_dir: &Path) -> Result<DomainXml, XmlError> {
    if xml.len() > MAX_XML {
        return Err(XmlError::TooLong(xml.len()));
    }
    let written = reader::read(xml)?;
    let uuid = Uuid::try_parse(written.uuid.trim()).map_err(|_| XmlError::Uuid)?;
    let mut problems = Vec::new();
    let cluster = cluster(&written.labels, &mut problems);
    let channels = ports::ours(&written.ports, uuid, guests_dir, &mut problems);
    let name = Name::try_from(written.name)?;
    Ok(DomainXml { uuid, name, cluster, channels, dac_label: written.dac_label, problems })
}

fn cluster(labels: &[Option<String>], problems: &mut Vec<String>) -> Option<String> {
    let problem = match labels {
        [] => return None,
        [Some(label)] if is_label(label) => return Some(label.clone()),
        [Some(_)] => {
            format!("its cluster label is unusable: use 1 to {MAX_LABEL} bytes without control characters")
        }
        [None] => "its fence-vmchannel metadata has no cluster attribute".to_owned(),
        _ => "it has more than one fence-vmchannel member element in its metadata: leave one".to_owned(),
    };
    problems.push(problem);
    None
}

/// Whether the text can name a cluster: 1 to 128 bytes, no control characters.
#[must_use]
pub fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// libvirt's DAC label: `+64055:+107`, or `user:group` as an administrator may write it.
fn owner(label: &str) -> Option<Owner> {
    let (user, group) = label.trim().split_once(':')?;
    Some(Owner { uid: uid(user)?, gid: gid(group)? })
}

fn uid(word: &str) -> Option<u32> {
    number(word).or_else(|| User::from_name(word).ok()?.map(|user| user.uid.as_raw()))
}

fn gid(word: &str) -> Option<u32> {
    number(word).or_else(|| Group::from_name(word).ok()?.map(|group| group.gid.as_raw()))
}

fn number(word: &str) -> Option<u32> {
    let digits = word.strip_prefix('+').unwrap_or(word);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests;
