//! A domain's XML as a tree, by another parser than the programs use.

use roxmltree::{Document, Node};

const OURS: &str = "urn:fence-vmchannel:1";

/// What the tree says, not judged.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) uuid: String,
    pub(crate) name: String,
    /// The cluster attribute of each of our member elements.
    pub(crate) labels: Vec<Option<String>>,
    pub(crate) ports: Vec<Port>,
}

/// A `<channel>`, `<serial>` or `<console>` of type `unix`.
#[derive(Debug, Default)]
pub(crate) struct Port {
    pub(crate) element: String,
    pub(crate) mode: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) target_type: Option<String>,
    pub(crate) target_name: Option<String>,
}

/// `None` where this parser takes the text for no XML, or it is not about one domain.
pub(crate) fn read(xml: &str) -> Option<Written> {
    let document = Document::parse(xml).ok()?;
    let domain = document.root_element();
    if !is(domain, "domain") {
        return None;
    }
    let members = children(domain, "metadata").flat_map(|metadata| metadata.children());
    let members = members.filter(|node| node.has_tag_name((OURS, "member")));
    let devices = children(domain, "devices").flat_map(|devices| devices.children());
    let is_port = |node: &Node<'_, '_>| ["channel", "serial", "console"].iter().any(|name| is(*node, name));
    let ports = devices.filter(is_port).filter(|port| port.attribute("type") == Some("unix"));
    Some(Written {
        uuid: text(domain, "uuid"),
        name: text(domain, "name"),
        labels: members.map(|node| attribute(node, "cluster")).collect(),
        ports: ports.map(port).collect(),
    })
}

fn port(node: Node<'_, '_>) -> Port {
    let mut port = Port { element: node.tag_name().name().to_owned(), ..Port::default() };
    for source in children(node, "source") {
        (port.mode, port.path) = (attribute(source, "mode"), attribute(source, "path"));
    }
    for target in children(node, "target") {
        (port.target_type, port.target_name) = (attribute(target, "type"), attribute(target, "name"));
    }
    port
}

fn is(node: Node<'_, '_>, name: &str) -> bool {
    node.is_element()
        && node.tag_name().name() == name
        && node.tag_name().namespace().is_none_or(str::is_empty)
}

fn children<'a, 'input: 'a>(node: Node<'a, 'input>, name: &'a str) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| is(*child, name))
}

fn text(domain: Node<'_, '_>, name: &str) -> String {
    let texts = children(domain, name).flat_map(|node| node.children());
    texts.filter(|node| node.is_text()).filter_map(|node| node.text()).collect()
}

fn attribute(node: Node<'_, '_>, name: &str) -> Option<String> {
    node.attribute(name).map(ToOwned::to_owned)
}
