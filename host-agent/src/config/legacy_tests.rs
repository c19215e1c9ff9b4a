use std::path::Path;

use super::*;
use crate::config::Config;

fn legacy(text: &str) -> Result<Legacy, String> {
    let config = Config::parse(text, Path::new("agent.toml")).map_err(|error| error.to_string())?;
    Ok(config.legacy.expect("there is a [legacy]"))
}

const LISTENER: &str = "[legacy]\nkey-file = '/etc/key'\n[[legacy.listener]]\nkind = 'tcp'\n";

#[test]
fn without_a_legacy_part_nobody_listens() {
    assert_eq!(Config::parse("", Path::new("agent.toml")).unwrap().legacy, None);
}

#[test]
fn the_handbooks_example_is_taken() {
    let text = include_str!("../../../docs/operations.md");
    let (_, example) = text.split_once("```agent-toml\n").unwrap();
    let legacy = legacy(example.split_once("```").unwrap().0).unwrap();

    assert_eq!((legacy.listeners.len(), legacy.peers.len(), legacy.callback_networks.len()), (3, 3, 1));
}

#[test]
fn what_is_left_out_is_the_safe_choice() {
    let legacy = legacy(LISTENER).unwrap();

    assert_eq!((legacy.hash, legacy.auth), (Hash::Sha256, Hash::Sha256));
    assert_eq!(legacy.listeners, [Listener::Tcp("127.0.0.1:1229".parse().unwrap())]);
    assert_eq!((legacy.peers.len(), legacy.callback_networks.len()), (0, 0));
}

#[test]
fn every_listener_and_whatever_weakens_it_is_warned_of() {
    let warned = |text: &str| legacy(text).unwrap().warnings().join("\n");
    let weak = "[legacy]\nhash = 'none'\nauth = 'none'\n[[legacy.listener]]\nkind = 'multicast'\n\
                [[legacy.peer]]\naddress = '192.0.2.1'\ncluster = 'web'\n";

    assert!(warned(LISTENER).contains("tcp 127.0.0.1:1229"));
    assert!(warned(LISTENER).contains("nobody may ask"));
    for part in
        ["multicast 225.0.0.12:1229", "hash = \"none\"", "auth = \"none\"", "callback-networks", "192.0.2.1"]
    {
        assert!(warned(weak).contains(part), "{part}: {}", warned(weak));
    }
    let good = format!("{LISTENER}[[legacy.peer]]\naddress = '192.0.2.1'\nguest = 'web1'\n");
    assert_eq!(legacy(&good).unwrap().warnings().len(), 1);
}

#[test]
fn a_peer_that_is_known_by_its_cid_is_warned_of_since_libvirt_may_give_that_to_another() {
    let by_cid = format!("{LISTENER}[[legacy.peer]]\ncid = 3\nguest = 'web1'\n");

    let warnings = legacy(&by_cid).unwrap().warnings();

    assert!(warnings.iter().any(|warning| warning.contains("<cid auto='no' address='3'/>")), "{warnings:?}");
}

#[test]
fn a_peer_that_is_known_by_a_link_local_address_is_warned_of_since_each_link_may_have_one() {
    let by_link = format!("{LISTENER}[[legacy.peer]]\naddress = 'fe80::7'\nguest = 'web1'\n");

    let warnings = legacy(&by_link).unwrap().warnings();

    assert!(warnings.iter().any(|warning| warning.contains("peer fe80::7 is whoever")), "{warnings:?}");
}

#[test]
fn what_is_wrong_in_the_legacy_part_is_told_with_what_was_expected() {
    let error = |text: &str| legacy(&format!("{LISTENER}{text}")).unwrap_err();
    for (text, told) in [
        ("address = '225.0.0.12'\nport = 70000\n", "port"),
        ("interface = 'virbr0'\n", "only multicast"),
        ("[[legacy.listener]]\nkind = 'udp'\n", "multicast, tcp or vsock"),
        ("[[legacy.listener]]\nkind = 'multicast'\naddress = '192.0.2.1'\n", "no multicast group"),
        ("[[legacy.listener]]\nkind = 'vsock'\naddress = '192.0.2.1'\n", "no address"),
        ("[[legacy.peer]]\nguest = 'web1'\n", "an address or a cid"),
        ("[[legacy.peer]]\ncid = 3\n", "a guest or a cluster"),
        ("[[legacy.peer]]\ncid = 3\nguest = 'web1'\ncluster = 'web'\n", "a guest or a cluster"),
        ("[[legacy.peer]]\ncid = 3\nguest = 'a'\n[[legacy.peer]]\ncid = 3\nguest = 'b'\n", "twice"),
        ("[[legacy.peer]]\naddress = 'web1'\nguest = 'web1'\n", "line"),
    ] {
        assert!(error(text).contains(told), "{text}: {}", error(text));
    }
    assert!(legacy("[legacy]\n[[legacy.listener]]\nkind = 'tcp'\n").unwrap_err().contains("key-file"));
    assert!(legacy("[legacy]\nkey-file = '/etc/key'\n").unwrap_err().contains("[[legacy.listener]]"));
    assert!(legacy(&LISTENER.replace("'/etc/key'", "'/k'\nhash = 'md5'")).unwrap_err().contains("sha256"));
}
