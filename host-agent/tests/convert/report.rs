//! What the operator is told.

use std::os::unix::fs::PermissionsExt;

use fence_vmchannel_host_agent::operator;

use crate::effect::json;
use crate::sample::{directory, samples};
use crate::world::machines;

fn ran(words: &[&str]) -> (u8, String, String) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let words = ["fence-vmchanneld", "convert-config", "--without-libvirt"].iter().chain(words);
    let code = operator::main(words.map(std::ffi::OsString::from), &mut out, &mut errors).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

fn sample(name: &str) -> String {
    directory().join("samples").join(name).display().to_string()
}

/// Writes a configuration with this listener section.
fn with_listener(directory: &std::path::Path, section: &str) -> String {
    let file = directory.join("fence_virt.conf");
    let head = r#"fence_virtd { listener = "multicast"; backend = "libvirt"; }"#;
    std::fs::write(&file, format!("{head}\nlisteners {{ multicast {{ {section} }} }}\n")).unwrap();
    file.display().to_string()
}

#[test]
fn every_line_that_says_something_is_spoken_of() {
    for sample in samples().iter().filter(|sample| !sample.choices.contains("--xvmd")) {
        let report = json(&sample.convert(&Ok(machines())));
        let findings = report["findings"].as_array().unwrap();
        let of_the_file = findings
            .iter()
            .filter(|finding| finding["place"]["file"].as_str().unwrap().ends_with(&sample.name));
        let spoken: Vec<u64> =
            of_the_file.map(|finding| finding["place"]["line"].as_u64().unwrap()).collect();
        for (number, line) in (1..).zip(sample.text.lines()) {
            let says = line.contains('=') && !line.starts_with('#');
            // What is inside a listener or backend that is not used is spoken of where that begins.
            let is_unused = ["interface = \"br0\"", "host = "].iter().any(|unused| line.contains(unused));
            assert!(!says || is_unused || spoken.contains(&number), "{}:{number}: {line}", sample.name);
        }
    }
}

#[test]
fn an_open_configuration_is_not_converted_until_somebody_chooses() {
    let (code, out, _) = ran(&[&sample("desktop-without-groups.conf")]);

    assert_eq!(code, 1);
    assert!(out.contains("CHOOSE: every guest could fence every other"), "{out}");
    assert!(out.contains("--open-as refuse"), "{out}");
    assert!(!out.contains("[[allow]]"), "{out}");
}

#[test]
fn an_address_is_not_taken_for_a_machine_until_somebody_says_whose_it_is() {
    let (code, out, _) = ran(&[&sample("multicast-groups.conf"), "--address", "192.168.1.1=web1"]);

    assert_eq!(code, 1);
    assert!(out.contains(":29: CHOOSE: ip 192.168.1.2"), "{out}");
    assert!(!out.contains("CHOOSE: ip 192.168.1.1:"), "{out}");
}

#[test]
fn weak_and_missing_keys_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, [7; 4096]).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = |section: &str| ran(&[&with_listener(dir.path(), section), "--open-as", "refuse"]).1;

    let key = key.display();
    assert!(
        told(&format!("key_file = \"{key}\";")).contains("can be read by others than its owner (mode 0644)")
    );
    assert!(told("key_file = \"/nonexistent\";").contains("key file /nonexistent is not there"));
    assert!(told("hash = \"none\"; auth = \"none\";").contains("whoever could reach the port could fence"));
    assert!(told("hash = \"SHA1\";").contains("SHA-1, which is weak"));
    assert!(told("hash = \"md5\";").contains("\"md5\" is no hash"));
    assert!(told("port = \"1229\";").contains("listened on every network"));
    assert_eq!(std::fs::metadata(dir.path().join("key")).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn files_that_are_there_are_overwritten_only_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().display().to_string();
    let convert = |more: &[&str]| {
        let file = sample("serial-uuids.conf");
        let words = [&[file.as_str(), "--output", &output], more].concat();
        ran(&words)
    };
    let read = || std::fs::read_to_string(dir.path().join("agent.toml")).unwrap();

    assert_eq!(convert(&[]).0, 0);
    std::fs::write(dir.path().join("agent.toml"), "# mine\n").unwrap();
    let (code, _, errors) = convert(&[]);

    assert_eq!((code, read().as_str()), (1, "# mine\n"));
    assert!(errors.contains("is there already") && errors.contains("--force"), "{errors}");
    assert_eq!(convert(&["--force"]).0, 0);
    assert!(read().contains("libvirt-uri = \"qemu:///system\""));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left behind");
}

#[test]
fn what_fence_virtd_cannot_read_is_a_clear_failure_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = with_listener(dir.path(), "port = \"1229\"");

    let (code, out, errors) = ran(&[&file]);

    assert_eq!((code, out.as_str()), (1, ""));
    assert!(errors.contains("fence_virt.conf: line 2: `;` is expected, but there is `}`"), "{errors}");
    assert!(ran(&["/nonexistent/fence_virt.conf"]).2.contains("cannot read /nonexistent/fence_virt.conf"));
}

#[test]
fn a_cluster_conf_gives_the_commands_for_the_guests() {
    let cluster = sample("two-nodes.cluster.conf");
    let (code, out, _) = ran(&["--xvmd=-I virbr1", "--cluster-conf", &cluster, "--open-as", "groups"]);

    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("systemctl enable fence-vmchanneld\n  systemctl restart fence-vmchanneld\n"),
        "{out}"
    );
    assert!(out.contains("channel add --cluster webcluster-"), "{out}");
    assert!(
        out.contains("pcs stonith create fence-vmchannel fence_vmchannel 'pcmk_host_map=node2:web2'\n"),
        "{out}"
    );
    assert!(
        out.contains("pcs stonith create fence-node1 fence_vmchannel 'pcmk_host_map=node1:web1' 'delay=5'\n"),
        "{out}"
    );
    assert!(out.contains("fence device of the agent \"fence_manual\": it stays as it is"), "{out}");
}

#[test]
fn names_that_would_mean_several_machines_do_not_get_into_the_policy() {
    let (code, out, _) = ran(&[&sample("words-of-a-policy.conf")]);

    assert_eq!(code, 0);
    for name in ["\"*\"", "\"@*\"", "\"cluster:web\""] {
        assert!(out.contains(&format!("NOT CONVERTED: {name} would mean more than one machine")), "{out}");
    }
}

#[test]
fn names_are_looked_up_where_libvirt_answers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fence_virt.conf");
    let head = r#"fence_virtd { listener = "serial"; backend = "libvirt"; }"#;
    let backend = r#"backends { libvirt { uri = "test:///default"; } }"#;
    let groups = r#"groups { group { uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"; uuid = "TEST"; uuid = "gone"; } }"#;
    std::fs::write(&file, format!("{head}\n{backend}\n{groups}\n")).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());

    let words = ["fence-vmchanneld", "convert-config", file.to_str().unwrap()].map(std::ffi::OsString::from);
    let code = operator::main(words, &mut out, &mut errors).unwrap();

    let out = String::from_utf8(out).unwrap();
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("machine 6695eb01-f6a4-8304-79aa-97f2502e193f (test)"), "{out}");
    assert!(
        out.contains("machine \"test\" (6695eb01-f6a4-8304-79aa-97f2502e193f), whose name has other letters"),
        "{out}"
    );
    assert!(out.contains("machine \"gone\": there is none of this name on this host now"), "{out}");
    assert!(out.contains("channel add --cluster only-test test\n"), "{out}");
}

#[test]
fn where_machines_are_unknown_labels_are_such_that_hardly_any_other_domain_has_them() {
    let cluster = sample("two-nodes.cluster.conf");
    let words = ["--xvmd=-I virbr1", "--cluster-conf", &cluster, "--open-as", "groups"];
    let labels = |out: &str| {
        let each =
            out.lines().filter_map(|line| line.split_once("channel add --cluster ").map(|(_, rest)| rest));
        each.map(str::to_owned).collect::<Vec<_>>()
    };

    let (_, once, _) = ran(&words);
    let (_, again, _) = ran(&words);

    let (label, machines) =
        labels(&once)[0].split_once(' ').map(|(l, m)| (l.to_owned(), m.to_owned())).unwrap();
    let number = label.strip_prefix("webcluster-").unwrap();
    assert!(number.len() == 8 && u32::from_str_radix(number, 16).is_ok(), "{once}");
    assert_eq!(machines, "web1 web2");
    assert_eq!(labels(&once), labels(&again), "commands that are run again change nothing");
    assert!(once.contains("cluster labels below end with a number"), "{once}");
}

#[test]
fn a_listener_that_is_kept_brings_the_command_that_lets_the_unit_have_a_network() {
    let file = sample("multicast-groups.conf");
    let drop_in = "/etc/systemd/system/fence-vmchanneld.service.d/legacy-network.conf";

    let kept = ran(&[&file, "--addresses-as", "keep"]).1;
    let moved = ran(&[&file, "--addresses-as", "members"]).1;

    let (before, after) = kept.split_once(drop_in).unwrap();
    assert!(before.contains("fence-vmchanneld hook install"), "{kept}");
    let then =
        ["daemon-reload", "disable --now fence_virtd", "enable fence-vmchanneld", "restart fence-vmchanneld"];
    let then: String = then.iter().map(|command| format!("  systemctl {command}\n")).collect();
    assert!(after.contains(&then), "{kept}");
    assert!(!moved.contains(drop_in) && !moved.contains("fence_virtd\n"), "{moved}");
}
