//! Walks a domain's XML and notes what is written at the places that matter.
//!
//! In:  XML. Out: [`Written`], not yet judged.
//!
//! Invariant: an element counts by its whole path from the root and by its namespace, so nothing inside `<metadata>`,
//! `<description>` or somebody else's namespace can pass for libvirt's own words.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

use super::{NAMESPACE, XmlError};

/// What the XML says.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) uuid: String,
    pub(super) name: String,
    /// The cluster attribute of each of our member elements.
    pub(super) labels: Vec<Option<String>>,
    pub(super) ports: Vec<WrittenPort>,
    pub(super) dac_label: String,
}

/// One `<channel>`, `<serial>` or `<console>`.
#[derive(Debug, Default)]
pub(super) struct WrittenPort {
    pub(super) is_channel: bool,
    pub(super) is_unix: bool,
    pub(super) mode: Option<String>,
    pub(super) path: Option<String>,
    pub(super) target_type: Option<String>,
    pub(super) target_name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Domain,
    Uuid,
    Name,
    Metadata,
    Member,
    Devices,
    Channel,
    Serial,
    Console,
    Source,
    Target,
    Seclabel,
    Label,
    Other,
}

pub(super) fn read(xml: &str) -> Result<Written, XmlError> {
    let mut reader = NsReader::from_str(xml);
    let mut walk = Walk::default();
    loop {
        match reader.read_resolved_event()? {
            (namespace, Event::Start(element)) => walk.enter(&namespace, &element)?,
            (namespace, Event::Empty(element)) => {
                walk.enter(&namespace, &element)?;
                walk.path.pop();
            }
            (_, Event::End(_)) => drop(walk.path.pop()),
            (_, Event::Text(text)) => walk.text(&text.xml10_content()),
            (_, Event::CData(text)) => walk.text(&text.xml10_content()),
            (_, Event::GeneralRef(entity)) => walk.entity(&entity)?,
            (_, Event::DocType(_)) => return Err(XmlError::NotADomain("it has a document type")),
            (_, Event::Eof) => return walk.finish(),
            (_, Event::Comment(_) | Event::Decl(_) | Event::PI(_)) => {}
        }
    }
}

#[derive(Default)]
struct Walk {
    path: Vec<Tag>,
    has_root: bool,
    in_dac: bool,
    written: Written,
}

impl Walk {
    fn enter(&mut self, namespace: &ResolveResult<'_>, element: &BytesStart<'_>) -> Result<(), XmlError> {
        let tag = Tag::of(namespace, element.local_name().as_ref());
        if self.path.is_empty() && (self.has_root || tag != Tag::Domain) {
            return Err(XmlError::NotADomain("its root is not one domain element"));
        }
        self.has_root = true;
        self.path.push(tag);
        self.note(element)
    }

    fn note(&mut self, element: &BytesStart<'_>) -> Result<(), XmlError> {
        match self.path.as_slice() {
            [Tag::Domain, Tag::Metadata, Tag::Member] => {
                self.written.labels.push(attribute(element, "cluster")?)
            }
            [Tag::Domain, Tag::Seclabel] => {
                self.in_dac = attribute(element, "model")?.as_deref() == Some("dac")
            }
            [Tag::Domain, Tag::Devices, port @ (Tag::Channel | Tag::Serial | Tag::Console)] => {
                let is_unix = attribute(element, "type")?.as_deref() == Some("unix");
                let is_channel = *port == Tag::Channel;
                self.written.ports.push(WrittenPort { is_channel, is_unix, ..WrittenPort::default() });
            }
            [Tag::Domain, Tag::Devices, Tag::Channel | Tag::Serial | Tag::Console, part] => {
                let part = *part;
                self.port_part(part, element)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn port_part(&mut self, part: Tag, element: &BytesStart<'_>) -> Result<(), XmlError> {
        let Some(port) = self.written.ports.last_mut().filter(|port| port.is_unix) else { return Ok(()) };
        if part == Tag::Source {
            port.mode = attribute(element, "mode")?;
            port.path = attribute(element, "path")?;
        } else if part == Tag::Target {
            port.target_type = attribute(element, "type")?;
            port.target_name = attribute(element, "name")?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        match self.path.as_slice() {
            [Tag::Domain, Tag::Uuid] => self.written.uuid.push_str(text),
            [Tag::Domain, Tag::Name] => self.written.name.push_str(text),
            [Tag::Domain, Tag::Seclabel, Tag::Label] if self.in_dac => self.written.dac_label.push_str(text),
            _ => {}
        }
    }

    fn entity(&mut self, entity: &BytesRef<'_>) -> Result<(), XmlError> {
        if let Some(character) = entity.resolve_char_ref()? {
            self.text(character.encode_utf8(&mut [0; 4]));
        } else if let Some(text) = resolve_xml_entity(entity) {
            self.text(text);
        } else {
            return Err(XmlError::NotADomain("it uses an unknown entity"));
        }
        Ok(())
    }

    fn finish(self) -> Result<Written, XmlError> {
        if self.has_root && self.path.is_empty() {
            Ok(self.written)
        } else {
            Err(XmlError::NotADomain("it ends early"))
        }
    }
}

impl Tag {
    fn of(namespace: &ResolveResult<'_>, local: &str) -> Self {
        match namespace {
            ResolveResult::Bound(Namespace(uri)) if *uri == NAMESPACE && local == "member" => Self::Member,
            ResolveResult::Unbound => Self::of_libvirt(local),
            ResolveResult::Bound(_) | ResolveResult::Unknown(_) => Self::Other,
        }
    }

    fn of_libvirt(local: &str) -> Self {
        match local {
            "domain" => Self::Domain,
            "uuid" => Self::Uuid,
            "name" => Self::Name,
            "metadata" => Self::Metadata,
            "devices" => Self::Devices,
            "channel" => Self::Channel,
            "serial" => Self::Serial,
            "console" => Self::Console,
            "source" => Self::Source,
            "target" => Self::Target,
            "seclabel" => Self::Seclabel,
            "label" => Self::Label,
            _ => Self::Other,
        }
    }
}

/// The value of an attribute. All are read, so that a doubled one is an error.
fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, XmlError> {
    let mut found = None;
    for attribute in element.attributes() {
        let attribute = attribute.map_err(quick_xml::Error::from)?;
        if attribute.key.as_ref() == name {
            found = Some(attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned());
        }
    }
    Ok(found)
}
