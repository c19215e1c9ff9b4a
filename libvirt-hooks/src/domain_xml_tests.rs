use super::{MAX_SOCKETS, Wanted, wanted_sockets};
use crate::owner::Owner;
use std::path::{Path, PathBuf};

const UUID: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

fn wanted(xml: &str) -> Wanted {
    wanted_sockets(xml.as_bytes(), Path::new("/run/fence-vmchannel/guests"))
}

fn with_devices(devices: &str) -> String {
    format!(
        "<domain type='kvm' id='3'><name>web1</name><uuid>{UUID}</uuid><devices>{devices}</devices></domain>"
    )
}

fn port(element: &str, mode: &str, path: &str) -> String {
    format!(
        "<{element} type='unix'><source mode='{mode}' path='{path}'><reconnect enabled='yes'/></source></{element}>"
    )
}

fn ours(file: &str) -> String {
    format!("/run/fence-vmchannel/guests/{file}")
}

#[test]
fn channel_serial_and_console_ports_are_found() {
    let files = ["channel", "serial", "console"].map(|kind| (kind, ours(&format!("{UUID}-{kind}.sock"))));
    let devices: String = files.iter().map(|(kind, file)| port(kind, "connect", file)).collect();

    let found = wanted(&with_devices(&devices));

    assert_eq!(found.sockets, files.map(|(_, file)| PathBuf::from(file)));
}

#[test]
fn an_empty_source_element_counts_and_a_socket_is_named_once() {
    let file = ours(&format!("{UUID}.sock"));
    let device = format!("<channel type='unix'><source mode=\"connect\" path='{file}'/></channel>");

    let found = wanted(&with_devices(&device.repeat(2)));

    assert_eq!(found.sockets, [PathBuf::from(file)]);
}

#[test]
fn ports_that_are_not_ours_are_left_alone() {
    let other = "7ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let own = ours(&format!("{UUID}.sock"));
    let strangers = [
        port("channel", "bind", &own),
        port("channel", "connect", &ours(&format!("{other}.sock"))),
        port("channel", "connect", &ours(&format!("{UUID}9.sock"))),
        port("channel", "connect", &ours(&format!("../{UUID}.sock"))),
        port("channel", "connect", &ours(&format!("sub/{UUID}.sock"))),
        port("channel", "connect", &format!("/tmp/{UUID}.sock")),
        port("parallel", "connect", &own),
        port("channel", "connect", &own).replace("'unix'", "'tcp'"),
        format!("<channel type='unix'/><channel type='pty'><source mode='connect' path='{own}'/></channel>"),
    ];

    for stranger in strangers {
        assert_eq!(wanted(&with_devices(&stranger)), Wanted::default(), "{stranger}");
    }
}

#[test]
fn xml_outside_of_the_devices_is_not_believed() {
    let port = port("channel", "connect", &ours(&format!("{UUID}.sock")));
    let inner = with_devices(&port);
    let forged = [
        format!("<domain><uuid>{UUID}</uuid><metadata>{inner}</metadata></domain>"),
        format!("<domain><uuid>{UUID}</uuid><metadata><devices>{port}</devices></metadata></domain>"),
        format!(
            "<domain><uuid>{UUID}</uuid><description><![CDATA[<devices>{port}</devices>]]></description></domain>"
        ),
        format!("<domain><uuid>{UUID}</uuid><!-- <devices>{port}</devices> --></domain>"),
        format!("<domain><metadata><uuid>{UUID}</uuid></metadata><devices>{port}</devices></domain>"),
        format!("<network><uuid>{UUID}</uuid><devices>{port}</devices></network>"),
        format!("<x:domain><uuid>{UUID}</uuid><devices>{port}</devices></x:domain>"),
    ];

    for xml in forged {
        assert_eq!(wanted(&xml), Wanted::default(), "{xml}");
    }
}

#[test]
fn garbage_is_answered_with_what_was_found_before_it() {
    let whole = with_devices(&port("channel", "connect", &ours(&format!("{UUID}.sock"))));
    let cut = whole.find("</devices>").unwrap();

    assert_eq!(wanted(&format!("{}<<<&", &whole[..cut])).sockets.len(), 1);
    for garbage in
        ["", "<", "not xml", "</domain>", "<domain", "<!DOCTYPE a [<!ENTITY b \"c\">]><domain>&b;", "\0\0"]
    {
        assert_eq!(wanted(garbage), Wanted::default(), "{garbage}");
    }
    assert_eq!(wanted_sockets(b"\xff\xfe<domain>", Path::new("/")), Wanted::default());
    assert_eq!(wanted(&"<domain>".repeat(50_000)), Wanted::default());
}

#[test]
fn any_part_of_a_domains_xml_can_be_read_without_harm() {
    let whole = with_devices(&port("serial", "connect", &ours(&format!("{UUID}.sock"))));

    for end in 0..whole.len() {
        let _ = wanted(&whole[..end]);
    }
}

#[test]
fn the_owner_comes_from_the_domains_own_dac_label() {
    let labels = "<seclabel type='dynamic' model='apparmor'><label>+1:+1</label></seclabel>\
                  <seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+107</label>\
                  <imagelabel>+2:+2</imagelabel></seclabel>";
    let elsewhere = "<seclabel model='dac'><label>+3:+3</label></seclabel>";
    let xml = with_devices(elsewhere).replace("</domain>", &format!("{labels}</domain>"));

    assert_eq!(wanted(&xml).owner, Some(Owner { uid: 64055, gid: 107 }));
}

#[test]
fn a_domain_cannot_fill_the_directory() {
    let devices: String =
        (0..100).map(|count| port("serial", "connect", &ours(&format!("{UUID}-{count}.sock")))).collect();

    assert_eq!(wanted(&with_devices(&devices)).sockets.len(), MAX_SOCKETS);
}
