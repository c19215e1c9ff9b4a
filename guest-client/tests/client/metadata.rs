//! What cluster software reads about the agent, under each of its names.

use std::path::Path;
use std::process::Command;

use crate::host::{client, client_with_input};

const NAMES: [&str; 3] = ["fence_vmchannel", "fence_virt", "fence_xvm"];

fn golden(name: &str) -> String {
    format!("{}/tests/golden/{name}.xml", env!("CARGO_MANIFEST_DIR"))
}

fn described(name: &str) -> String {
    let ended = client(&["--compat", name, "-o", "metadata"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    ended.out
}

#[test]
fn the_metadata_is_the_golden_one_under_each_name() {
    for name in NAMES {
        assert_eq!(described(name), std::fs::read_to_string(golden(name)).unwrap(), "{name}");
    }
    assert_eq!(client(&["-o", "metadata"]).out, described("fence_vmchannel"));
}

#[test]
fn the_metadata_is_valid_by_the_schema_under_each_name() {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metadata.rng").to_owned();
    // The schema of the fence-agents project itself, where somebody has it.
    let schemas = [Some(ours), std::env::var("FENCE_AGENTS_METADATA_RNG").ok()];
    for schema in schemas.into_iter().flatten() {
        for name in NAMES {
            let mut xmllint = Command::new("xmllint");
            let checked = xmllint.args(["--noout", "--relaxng", &schema, &golden(name)]).output().unwrap();
            assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}

#[test]
fn the_schema_finds_a_parameter_of_an_unknown_kind() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken.xml");
    let text = described("fence_xvm").replacen("type=\"string\"", "type=\"text\"", 1);
    std::fs::write(&broken, text).unwrap();

    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metadata.rng");
    let checked =
        Command::new("xmllint").args(["--noout", "--relaxng", schema]).arg(&broken).output().unwrap();

    assert!(!checked.status.success());
}

#[test]
fn a_link_of_the_agent_s_name_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    for name in NAMES {
        let link = directory.path().join(name);
        std::os::unix::fs::symlink(crate::host::CLIENT, &link).unwrap();

        let output = Command::new(&link).args(["-o", "metadata"]).output().unwrap();

        assert_eq!(String::from_utf8(output.stdout).unwrap(), described(name));
    }
}

#[test]
fn every_parameter_of_the_metadata_is_a_key_and_every_letter_an_option() {
    for name in NAMES {
        let metadata = described(name);
        let keys: String = values(&metadata, "name", "<parameter ").map(|key| line(&key)).collect();

        let ended = client_with_input(&["--compat", name], &keys);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{name}: {keys}");

        let help = client(&["--compat", name, "-h"]);
        assert_eq!(help.code, 0, "{help:?}");
        for mixed in values(&metadata, "mixed", "<getopt ").filter(|mixed| !mixed.is_empty()) {
            let taken = mixed.split([',', '=']).next().unwrap().to_owned();
            assert!(help.out.contains(&taken) || taken == "-H", "{name} {mixed}: {}", help.out);
        }
    }
}

#[test]
fn our_own_metadata_names_the_target_once_since_pacemaker_takes_port_where_it_is() {
    let names: Vec<String> = values(&described("fence_vmchannel"), "name", "<parameter ").collect();

    assert_eq!(names.iter().filter(|name| *name == "plug").count(), 1, "{names:?}");
    assert!(!names.iter().any(|name| name == "port" || name == "domain"), "{names:?}");
    assert!(!described("fence_vmchannel").contains(r#"obsoletes="port""#));
}

/// A line of standard input that sets this key to something that it may be.
fn line(key: &str) -> String {
    let value = match key {
        "action" => "null",
        "ip_family" => "ipv4",
        "multicast_address" => "239.0.0.1",
        "channel_address" | "ipaddr" => "192.0.2.1",
        "serial_params" => "9600,8N1",
        "auth" | "hash" => "sha512",
        "uuid" | "use_uuid" => "0",
        _ => "1",
    };
    format!("{key}={value}\n")
}

fn values(metadata: &str, key: &str, element: &str) -> impl Iterator<Item = String> {
    let (key, element) = (format!("{key}=\""), element.to_owned());
    let lines: Vec<String> = metadata.lines().map(str::to_owned).collect();
    lines.into_iter().filter(move |line| line.contains(&element)).filter_map(move |line| {
        let rest = line.split_once(&key)?.1;
        Some(rest.split_once('"')?.0.to_owned())
    })
}

#[test]
fn the_golden_files_are_where_they_are_looked_for() {
    assert!(NAMES.iter().all(|name| Path::new(&golden(name)).exists()));
}
