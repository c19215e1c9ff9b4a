//! Finds our sockets in a domain's XML.
//!
//! In:  bytes that should be the XML of a domain, perhaps only its beginning.
//! Out: the [`Wanted`] sockets and their owner.
//!
//! Invariant: only `<domain><devices>` is believed (metadata may hold anything), and only paths directly in our
//! `guests` directory whose file name begins with the domain's own UUID.

use std::path::{Path, PathBuf};

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use crate::owner::Owner;

/// More sockets than any domain of ours has.
const MAX_SOCKETS: usize = 16;

/// What a domain needs before it can start.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Socket files that must exist.
    pub sockets: Vec<PathBuf>,
    /// Who its QEMU runs as, where the XML says so.
    pub owner: Option<Owner>,
}

/// The sockets in `guests` that the domain connects to. What cannot be read ends the search, with what was found.
#[must_use]
pub fn wanted_sockets(xml: &[u8], guests: &Path) -> Wanted {
    let mut search = Search::default();
    let mut reader = Reader::from_str(readable(xml));
    loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => search.enter(&element),
            Ok(Event::Empty(element)) => {
                search.enter(&element);
                search.leave();
            }
            Ok(Event::End(_)) => search.leave(),
            Ok(Event::Text(text)) => search.text(&text.xml10_content()),
            Ok(Event::Eof) | Err(_) => return search.result(guests),
            Ok(
                Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_)
                | Event::GeneralRef(_),
            ) => {}
        }
    }
}

/// The longest beginning that is UTF-8.
fn readable(bytes: &[u8]) -> &str {
    bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}

#[derive(Default)]
struct Search {
    path: Vec<String>,
    in_unix_port: bool,
    in_dac_label: bool,
    uuid: String,
    label: String,
    sources: Vec<PathBuf>,
}

impl Search {
    fn enter(&mut self, element: &BytesStart<'_>) {
        self.path.push(element.name().as_ref().to_owned());
        match self.place().as_slice() {
            ["domain", "devices", "channel" | "serial" | "console"] => {
                self.in_unix_port = attribute(element, "type").as_deref() == Some("unix");
            }
            ["domain", "devices", "channel" | "serial" | "console", "source"] if self.in_unix_port => {
                let connects = attribute(element, "mode").as_deref() == Some("connect");
                let path = attribute(element, "path").filter(|_| connects).map(PathBuf::from);
                self.sources.extend(path.filter(|path| !self.sources.contains(path)));
            }
            ["domain", "seclabel"] => {
                self.in_dac_label = attribute(element, "model").as_deref() == Some("dac");
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        match self.place().as_slice() {
            ["domain", "uuid"] => text.trim().clone_into(&mut self.uuid),
            ["domain", "seclabel", "label"] if self.in_dac_label => text.clone_into(&mut self.label),
            _ => {}
        }
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    /// Where in the document we are; deeper than anything that matters is nowhere.
    fn place(&self) -> Vec<&str> {
        self.path.iter().take(5).map(String::as_str).collect()
    }

    fn result(self, guests: &Path) -> Wanted {
        let ours = |path: &PathBuf| path.parent() == Some(guests) && is_of_domain(path, &self.uuid);
        Wanted {
            sockets: self.sources.into_iter().filter(ours).take(MAX_SOCKETS).collect(),
            owner: Owner::from_label(&self.label),
        }
    }
}

/// `UUID.sock`, `UUID-serial1.sock`: the UUID and then something that is not part of one.
fn is_of_domain(path: &Path, uuid: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    is_uuid(uuid) && name.strip_prefix(uuid).is_some_and(|rest| rest.starts_with(['.', '-']))
}

/// As libvirt writes it: 8-4-4-4-12 lower-case hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let digits = |group: &str| group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(digits)
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).ok()??;
    Some(found.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned())
}

#[cfg(test)]
#[path = "domain_xml_tests.rs"]
mod tests;
