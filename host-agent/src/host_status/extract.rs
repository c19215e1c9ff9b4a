//! A value out of what a file or a program says.
//!
//! In:  text. Out: the value in it.
//!
//! Invariant: what is not there, or there twice with different values, is no value.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde::{Deserialize, Serialize};

/// How the text is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The first line, without the space around it.
    #[default]
    Text,
    /// What `attrd_updater --query` prints: `name="pingd" host="n1" value="1000"`.
    AttrdUpdater,
    /// What `crm_mon --output-as=xml` prints.
    CrmMon,
}

/// Which attribute of which node is meant, where the text has several.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) node: Option<&'a str>,
}

/// The value in this text; the error says what was looked for.
pub(super) fn value(format: Format, text: &str, wanted: Wanted<'_>) -> Result<String, String> {
    match format {
        Format::Text => Ok(text.lines().next().unwrap_or_default().trim().to_owned()),
        Format::AttrdUpdater => only(text.lines().filter_map(|line| wanted.in_line(line)), wanted),
        Format::CrmMon => only(wanted.in_xml(text)?.into_iter(), wanted),
    }
}

fn only(mut values: impl Iterator<Item = String>, wanted: Wanted<'_>) -> Result<String, String> {
    let Wanted { name, node } = wanted;
    let of_node = node.map(|node| format!(" of node {node:?}")).unwrap_or_default();
    let first = values.next().ok_or_else(|| format!("attribute {name:?}{of_node} is not in it"))?;
    match values.all(|value| value == first) {
        true => Ok(first),
        false => Err(format!("attribute {name:?} has several values in it: set `node`")),
    }
}

impl Wanted<'_> {
    fn fits(self, name: Option<&str>, node: Option<&str>) -> bool {
        name == Some(self.name) && (self.node.is_none() || self.node == node)
    }

    fn in_line(self, line: &str) -> Option<String> {
        let field = |key: &str| {
            let (_, rest) = line.split_once(&format!("{key}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        self.fits(field("name"), field("host")).then(|| field("value").map(str::to_owned))?
    }

    /// `<node_attributes><node name="n1"><attribute name="pingd" value="1000"/>`.
    fn in_xml(self, text: &str) -> Result<Vec<String>, String> {
        let mut reader = Reader::from_str(text);
        let (mut inside, mut node, mut values) = (false, None, Vec::new());
        loop {
            let tag = match reader.read_event().map_err(|error| format!("not the XML of crm_mon: {error}"))? {
                Event::Start(tag) | Event::Empty(tag) => tag,
                Event::End(tag) => {
                    inside = inside && tag.name().as_ref() != "node_attributes";
                    continue;
                }
                Event::Eof => return Ok(values),
                Event::Text(_) | Event::CData(_) | Event::Comment(_) | Event::Decl(_) => continue,
                Event::PI(_) | Event::DocType(_) | Event::GeneralRef(_) => continue,
            };
            match tag.name().as_ref() {
                "node_attributes" => inside = true,
                "node" => node = of(&tag, "name"),
                "attribute" if inside && self.fits(of(&tag, "name").as_deref(), node.as_deref()) => {
                    values.extend(of(&tag, "value"));
                }
                _ => {}
            }
        }
    }
}

fn of(tag: &BytesStart<'_>, key: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(key).ok()??;
    attribute.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str =
        "name=\"pingd\" host=\"n1\" value=\"1000\"\nname=\"pingd\" host=\"n2\" value=\"0\"\n";
    const MON: &str = r#"<pacemaker-result api-version="2.25" request="crm_mon"><nodes><node name="n1" id="1"/></nodes>
        <node_attributes><node name="n1"><attribute name="pingd" value="1000"/><attribute name="x&amp;y" value="a&lt;b"/></node>
        <node name="n2"><attribute name="pingd" value="0" expected="1000"/></node></node_attributes>
        <node name="n1"><attribute name="pingd" value="7"/></node></pacemaker-result>"#;

    fn found(format: Format, text: &str, name: &str, node: Option<&str>) -> Result<String, String> {
        value(format, text, Wanted { name, node })
    }

    #[test]
    fn text_is_its_first_line() {
        assert_eq!(found(Format::Text, " ok \nmore\n", "any", None).unwrap(), "ok");
        assert_eq!(found(Format::Text, "", "any", None).unwrap(), "");
    }

    #[test]
    fn an_attribute_of_a_node_is_found_in_what_pacemaker_prints() {
        for (format, text) in [(Format::AttrdUpdater, PRINTED), (Format::CrmMon, MON)] {
            assert_eq!(found(format, text, "pingd", Some("n1")).unwrap(), "1000");
            assert_eq!(found(format, text, "pingd", Some("n2")).unwrap(), "0");
        }
        assert_eq!(found(Format::CrmMon, MON, "x&y", None).unwrap(), "a<b");
    }

    #[test]
    fn what_is_not_there_or_differs_between_nodes_is_no_value() {
        for (format, text) in [(Format::AttrdUpdater, PRINTED), (Format::CrmMon, MON)] {
            assert!(found(format, text, "pingd", None).unwrap_err().contains("several values"));
            assert!(found(format, text, "pingd", Some("n3")).unwrap_err().contains("n3"));
            assert!(found(format, text, "ping", Some("n1")).unwrap_err().contains("not in it"));
        }
        for text in ["", "<a", "could not query", "<node_attributes><node name='n1'></x>"] {
            assert!(found(Format::CrmMon, text, "pingd", None).is_err(), "{text}");
            assert!(found(Format::AttrdUpdater, text, "pingd", None).is_err(), "{text}");
        }
    }
}
