use std::path::{Path, PathBuf};

use super::{DomainXml, XmlError, parse};
use crate::domain::{ChannelSpec, Mode, Owner, Port};

const UUID: &str = "11111111-2222-3333-4444-555555555555";
const GUESTS: &str = "/run/fence-vmchannel/guests";

fn domain(inside: &str) -> String {
    format!("<domain type='kvm' id='3'><name>web1</name><uuid>{UUID}</uuid>{inside}</domain>")
}

fn read(inside: &str) -> DomainXml {
    parse(&domain(inside), Path::new(GUESTS)).unwrap()
}

fn virtio(mode: &str, path: &str) -> String {
    format!(
        "<devices><channel type='unix'><source mode='{mode}' path='{path}'><reconnect enabled='yes' timeout='1'/>\
         </source><target type='virtio' name='org.fence_vmchannel.0' state='connected'/></channel></devices>"
    )
}

fn own(suffix: &str) -> String {
    format!("{GUESTS}/{UUID}{suffix}")
}

#[test]
fn a_plain_domain_has_neither_label_nor_channel() {
    let read = read("<description>web</description><devices><emulator>/usr/bin/kvm</emulator></devices>");

    assert_eq!((read.uuid.to_string().as_str(), read.name.as_str()), (UUID, "web1"));
    assert_eq!((read.owner(), read.cluster, read.channels, read.problems), (None, None, vec![], vec![]));
}

#[test]
fn the_label_counts_by_namespace_and_never_by_prefix() {
    let ours = [
        "<fence:member xmlns:fence='urn:fence-vmchannel:1' cluster='web'/>",
        "<x:member xmlns:x='urn:fence-vmchannel:1' cluster='web'></x:member>",
        "<member xmlns='urn:fence-vmchannel:1' cluster='w&#101;b'/>",
    ];
    let foreign = [
        "<fence:member xmlns:fence='urn:fence-vmchannel:2' cluster='web'/>",
        "<member cluster='web'/>",
        "<fence:member cluster='web'/>",
        "<member xmlns='urn:fence-vmchannel:1 ' cluster='web'/>",
        "<f:members xmlns:f='urn:fence-vmchannel:1' cluster='web'/>",
    ];

    for member in ours {
        assert_eq!(
            read(&format!("<metadata>{member}</metadata>")).cluster.as_deref(),
            Some("web"),
            "{member}"
        );
    }
    for member in foreign {
        assert_eq!(read(&format!("<metadata>{member}</metadata>")).cluster, None, "{member}");
    }
}

#[test]
fn a_label_elsewhere_in_the_tree_does_not_count() {
    let member = "<f:member xmlns:f='urn:fence-vmchannel:1' cluster='web'/>";
    let places = [
        member.to_owned(),
        format!("<devices><metadata>{member}</metadata></devices>"),
        format!("<metadata><app xmlns='urn:other'>{member}</app></metadata>"),
        format!("<metadata><metadata>{member}</metadata></metadata>"),
        format!("<x:metadata xmlns:x='urn:x'>{member}</x:metadata>"),
        format!("<metadata><!-- {member} --></metadata>"),
        format!("<metadata><![CDATA[{member}]]></metadata>"),
        "<metadata>&lt;f:member xmlns:f='urn:fence-vmchannel:1' cluster='web'/&gt;</metadata>".to_owned(),
        format!("<metadata><a><domain><metadata>{member}</metadata></domain></a></metadata>"),
    ];

    for place in places {
        assert_eq!(read(&place).cluster, None, "{place}");
    }
}

#[test]
fn a_doubtful_label_is_no_label_and_is_reported() {
    let member = |attributes: &str| format!("<f:member xmlns:f='urn:fence-vmchannel:1' {attributes}/>");
    let long = "x".repeat(129);
    let doubtful = [
        member(""),
        member("cluster=''"),
        member("cluster='a&#10;b'"),
        member("f:cluster='web'"),
        member(&format!("cluster='{long}'")),
        member("cluster='web'").repeat(2),
    ];

    for member in doubtful {
        let read = read(&format!("<metadata>{member}</metadata>"));
        assert_eq!((read.cluster, read.problems.len()), (None, 1), "{member}");
    }
}

#[test]
fn our_virtio_channel_is_taken_in_both_modes() {
    let connect =
        ChannelSpec { port: Port::Virtio, mode: Mode::Connect, path: PathBuf::from(own(".sock")).into() };
    let auto = "/var/lib/libvirt/qemu/channel/target/domain-3-web1/org.fence_vmchannel.0";
    let bind = ChannelSpec { port: Port::Virtio, mode: Mode::Bind, path: PathBuf::from(auto).into() };

    assert_eq!(read(&virtio("connect", &own(".sock"))).channels, [connect]);
    assert_eq!(read(&virtio("bind", auto)).channels, [bind]);
}

#[test]
fn a_bind_channel_without_a_path_yet_is_skipped() {
    let read = read(
        "<devices><channel type='unix'><source mode='bind'/><target type='virtio' name='org.fence_vmchannel.0'/>\
         </channel><channel type='unix'><target type='virtio' name='org.fence_vmchannel.0'/></channel></devices>",
    );

    assert_eq!((read.channels, read.problems), (vec![], vec![]));
}

#[test]
fn an_address_that_qemu_forwards_into_our_directory_is_served() {
    let forwarded = "<target type='guestfwd' address='10.0.2.179' port='1229'/>";
    let path = own("-guestfwd.sock");

    let read = read(&format!(
        "<devices><channel type='unix'><source mode='bind' path='{path}'/>{forwarded}</channel></devices>"
    ));

    let served: Vec<_> = read.channels.iter().map(|one| (one.port, one.mode, one.path.to_str())).collect();
    assert_eq!(served, [(Port::Serial, Mode::Bind, Some(path.as_str()))]);
}

#[test]
fn nobody_elses_channel_is_touched() {
    let others = [
        virtio("connect", &own(".sock")).replace("org.fence_vmchannel.0", "org.qemu.guest_agent.0"),
        virtio("bind", "/tmp/forwarded").replace("'virtio'", "'guestfwd'"),
        virtio("connect", &own(".sock")).replace("'unix'", "'pty'"),
        virtio("connect", &own(".sock")).replace("devices>", "backup>"),
        format!("<metadata>{}</metadata>", virtio("connect", &own(".sock"))),
        format!("<!--{}-->", virtio("connect", &own(".sock"))),
        "<devices><serial type='unix'><source mode='bind' path='/tmp/serial'/></serial></devices>".to_owned(),
    ];

    for other in others {
        let read = read(&other);
        assert_eq!((read.channels, read.problems), (vec![], vec![]), "{other}");
    }
}

#[test]
fn a_socket_that_is_not_the_domains_own_is_a_problem() {
    let foreign = "99999999-2222-3333-4444-555555555555";
    let wrong = [
        virtio("connect", "/tmp/x.sock"),
        virtio("connect", "relative.sock"),
        virtio("connect", &format!("{GUESTS}/{foreign}.sock")),
        virtio("bind", &format!("{GUESTS}/{foreign}.sock")),
        virtio("connect", &format!("{GUESTS}/sub/{UUID}.sock")),
        virtio("connect", &format!("{GUESTS}/../guests/{UUID}.sock")),
        virtio("connect", &own("")),
        virtio("connect", &own("x.sock")),
        virtio("connect", &own(".sock.d/..")),
        format!(
            "<devices><serial type='unix'><source mode='bind' path='{GUESTS}/{foreign}-s.sock'/></serial></devices>"
        ),
    ];

    for port in wrong {
        let read = read(&port);
        assert_eq!((read.channels.len(), read.problems.len()), (0, 1), "{port}");
    }
}

#[test]
fn a_serial_port_in_our_directory_is_taken_once_though_the_console_repeats_it() {
    let source = format!("<source mode='connect' path='{}'/>", own("-serial1.sock"));
    let read = read(&format!(
        "<devices><serial type='unix'>{source}<target type='isa-serial' port='1'/></serial>\
         <console type='unix'>{source}<target type='serial' port='1'/></console></devices>"
    ));

    let spec = ChannelSpec {
        port: Port::Serial,
        mode: Mode::Connect,
        path: PathBuf::from(own("-serial1.sock")).into(),
    };
    assert_eq!((read.channels, read.problems), (vec![spec], vec![]));
}

#[test]
fn the_owner_is_read_from_the_dac_label_alone() {
    let apparmor = "<seclabel type='dynamic' model='apparmor'><label>+1:+1</label></seclabel>";
    let dac = "<seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+107</label>\
               <imagelabel>+2:+2</imagelabel></seclabel>";

    assert_eq!(read(&format!("{apparmor}{dac}")).owner(), Some(Owner { uid: 64055, gid: 107 }));
    assert_eq!(read(&format!("{dac}{apparmor}")).owner(), Some(Owner { uid: 64055, gid: 107 }));
    assert_eq!(read(apparmor).owner(), None);
    assert_eq!(read(&dac.replace("+64055:+107", "root:root")).owner(), Some(Owner { uid: 0, gid: 0 }));
    assert_eq!(read(&dac.replace("+64055:+107", "no-such-user:root")).owner(), None);
    assert_eq!(read(&dac.replace("+64055:+107", "+-1:+9999999999")).owner(), None);
}

#[test]
fn the_name_is_read_with_its_escapes() {
    let xml =
        format!("<domain><name>a&amp;b<!-- c -->&#x63;<![CDATA[<d>]]></name><uuid>{UUID}</uuid></domain>");

    assert_eq!(parse(&xml, Path::new(GUESTS)).unwrap().name.as_str(), "a&bc<d>");
}

#[test]
fn what_is_not_one_well_formed_domain_is_an_error() {
    let good = domain("");
    let bad = [
        String::new(),
        "domain".to_owned(),
        good.replace("</domain>", ""),
        format!("{good}{good}"),
        format!("<!DOCTYPE domain [<!ENTITY e 'web'>]>{good}"),
        domain("<metadata>&e;</metadata>"),
        domain(&format!("<uuid>{UUID}</uuid>")),
        good.replace(UUID, "11111111"),
        good.replace("web1", "web&#7;"),
        good.replace("web1", ""),
        good.replace("<domain ", "<domain xmlns='urn:x' "),
        format!("<domainsnapshot>{good}</domainsnapshot>"),
        domain("<metadata><f:member xmlns:f='urn:fence-vmchannel:1' cluster='a' cluster='b'/></metadata>"),
        domain("<a></b>"),
    ];

    for xml in bad {
        assert!(parse(&xml, Path::new(GUESTS)).is_err(), "{xml}");
    }
    let long = domain(&" ".repeat(super::MAX_XML));
    assert!(matches!(parse(&long, Path::new(GUESTS)), Err(XmlError::TooLong(_))));
}

#[test]
fn any_beginning_of_a_domain_is_answered_without_a_panic() {
    let whole =
        domain(&format!("<metadata><m xmlns='urn:fence-vmchannel:1'/></metadata>{}", virtio("bind", "/é")));

    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        assert!(parse(&whole[..end], Path::new(GUESTS)).is_err());
    }
    assert!(parse(&whole, Path::new(GUESTS)).is_ok());
}
