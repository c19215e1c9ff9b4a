//! Hook notes: what the libvirt hook tells the host agent about one operation on one domain.
//!
//! In:  what libvirt gave the hook (operation, sub-operation, extra, domain name, domain XML).
//! Out: the bytes of one spool file and back: a JSON header line, then the XML exactly as libvirt wrote it.
//!
//! Invariant: a note only hastens the agent's own look at libvirt, so nothing may be concluded from it alone;
//! every input is answered with a note or an error, never with a panic.

use serde::{Deserialize, Serialize};

/// The longest domain name in a note, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// The longest domain XML in a note, in bytes; a longer one is left out.
pub const MAX_XML_BYTES: usize = 1 << 20;

/// The longest operation, sub-operation or extra argument, in bytes.
pub const MAX_WORD_BYTES: usize = 64;

/// The longest header line: JSON may write each of the name's bytes as six.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// The longest note, in bytes.
pub const MAX_NOTE_BYTES: usize = MAX_HEADER_BYTES + MAX_XML_BYTES;

/// The format's version.
const VERSION: u32 = 1;

/// One call of the hook, as libvirt made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What libvirt does with the domain.
    pub operation: Operation,
    /// `begin`, `end` or `abort`; `-` where libvirt has none.
    pub sub_operation: String,
    /// libvirt's fourth argument, mostly `-`.
    pub extra: String,
    /// The domain's name.
    pub domain: String,
    /// The domain's XML.
    pub xml: DomainXml,
}

/// What libvirt does with the domain, see <https://libvirt.org/hooks.html>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Operation {
    /// Resources are about to be reserved for a start: before QEMU runs.
    Prepare,
    /// QEMU is about to run.
    Start,
    /// QEMU runs.
    Started,
    /// QEMU is gone.
    Stopped,
    /// The domain's resources are free again.
    Release,
    /// The domain's XML arrives with an incoming migration.
    Migrate,
    /// The domain is restored from a saved state.
    Restore,
    /// libvirt was restarted and found the domain running.
    Reconnect,
    /// libvirt attached to a QEMU started by others.
    Attach,
    /// One that this version does not know.
    Other(String),
}

/// The domain's XML, as far as it could be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainXml {
    /// All of it, never a part.
    Whole(String),
    /// Omitted: too large, not UTF-8, or not complete in time.
    Omitted,
}

/// Why bytes are no note, or a note cannot become bytes.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// A field is longer than its limit, or empty where it must not be.
    #[error("the note's {field} has {bytes} bytes, allowed are 1 to {limit}; the note is of no use, drop it")]
    Length {
        /// Which field.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No header line within the limit.
    #[error(
        "the note has no header line in its first {MAX_HEADER_BYTES} bytes; it was not written by our hook, drop it"
    )]
    NoHeader,
    /// The header line is not what the hook writes.
    #[error("the note's header cannot be read; hook and agent may differ in version, run `hook install`")]
    Header(#[source] serde_json::Error),
    /// Another version's note.
    #[error("the note has format {0}, this agent reads {VERSION}; run `hook install`")]
    Version(u32),
    /// The XML is not as long as the header says.
    #[error("the note's XML has {found} bytes, its header says {said}; the file was cut or changed, drop it")]
    Cut {
        /// What the header says.
        said: usize,
        /// What is there.
        found: usize,
    },
    /// The XML is not UTF-8.
    #[error("the note's XML is not UTF-8; it was not written by our hook, drop it")]
    NotUtf8(#[source] std::str::Utf8Error),
}

#[derive(Serialize, Deserialize)]
struct Header {
    note: u32,
    operation: Operation,
    sub_operation: String,
    extra: String,
    domain: String,
    xml_bytes: Option<usize>,
}

impl Note {
    /// The note's bytes, at most [`MAX_NOTE_BYTES`].
    ///
    /// # Errors
    /// [`NoteError::Length`] when a field is over its limit.
    pub fn encode(&self) -> Result<Vec<u8>, NoteError> {
        let xml = match &self.xml {
            DomainXml::Whole(xml) => Some(xml.as_str()),
            DomainXml::Omitted => None,
        };
        let header = Header {
            note: VERSION,
            operation: self.operation.clone(),
            sub_operation: self.sub_operation.clone(),
            extra: self.extra.clone(),
            domain: self.domain.clone(),
            xml_bytes: xml.map(str::len),
        };
        header.check()?;
        let mut bytes = serde_json::to_vec(&header).map_err(NoteError::Header)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(xml.unwrap_or_default().as_bytes());
        Ok(bytes)
    }

    /// The note in `bytes`.
    ///
    /// # Errors
    /// [`NoteError`] when the bytes are anything but one whole note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let end = bytes.iter().take(MAX_HEADER_BYTES).position(|byte| *byte == b'\n');
        let (line, rest) = end.and_then(|end| bytes.split_at_checked(end)).ok_or(NoteError::NoHeader)?;
        let body = rest.get(1..).unwrap_or_default(); // after the newline
        let header: Header = serde_json::from_slice(line).map_err(NoteError::Header)?;
        header.check()?;
        let said = header.xml_bytes.unwrap_or(0);
        if body.len() != said {
            return Err(NoteError::Cut { said, found: body.len() });
        }
        let xml = match header.xml_bytes {
            None => DomainXml::Omitted,
            Some(_) => DomainXml::Whole(std::str::from_utf8(body).map_err(NoteError::NotUtf8)?.to_owned()),
        };
        Ok(Self {
            operation: header.operation,
            sub_operation: header.sub_operation,
            extra: header.extra,
            domain: header.domain,
            xml,
        })
    }
}

impl Header {
    fn check(&self) -> Result<(), NoteError> {
        if self.note != VERSION {
            return Err(NoteError::Version(self.note));
        }
        within("domain name", self.domain.len(), 1, MAX_NAME_BYTES)?;
        within("operation", self.operation.as_str().len(), 1, MAX_WORD_BYTES)?;
        within("sub-operation", self.sub_operation.len(), 0, MAX_WORD_BYTES)?;
        within("extra argument", self.extra.len(), 0, MAX_WORD_BYTES)?;
        within("XML", self.xml_bytes.unwrap_or(0), 0, MAX_XML_BYTES)
    }
}

fn within(field: &'static str, bytes: usize, least: usize, limit: usize) -> Result<(), NoteError> {
    if (least..=limit).contains(&bytes) { Ok(()) } else { Err(NoteError::Length { field, bytes, limit }) }
}

impl DomainXml {
    /// The XML, if the note has it.
    #[must_use]
    pub fn whole(&self) -> Option<&str> {
        match self {
            Self::Whole(xml) => Some(xml),
            Self::Omitted => None,
        }
    }
}

impl Operation {
    /// libvirt's word for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Prepare => "prepare",
            Self::Start => "start",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Release => "release",
            Self::Migrate => "migrate",
            Self::Restore => "restore",
            Self::Reconnect => "reconnect",
            Self::Attach => "attach",
            Self::Other(word) => word,
        }
    }
}

impl From<String> for Operation {
    fn from(word: String) -> Self {
        match word.as_str() {
            "prepare" => Self::Prepare,
            "start" => Self::Start,
            "started" => Self::Started,
            "stopped" => Self::Stopped,
            "release" => Self::Release,
            "migrate" => Self::Migrate,
            "restore" => Self::Restore,
            "reconnect" => Self::Reconnect,
            "attach" => Self::Attach,
            _ => Self::Other(word),
        }
    }
}

impl From<Operation> for String {
    fn from(operation: Operation) -> Self {
        operation.as_str().to_owned()
    }
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;
