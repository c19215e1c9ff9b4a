//! Called as fence_virt or fence_xvm: their options, their words, their exit codes.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::host::{CLIENT, client, client_with_input};

#[test]
fn options_that_cannot_be_right_end_with_1_before_anything_is_opened() {
    let cases: [(&[&str], &str); 9] = [
        (&["--compat", "fence_ilo"], "it can be fence_virt, fence_xvm"),
        (&["--compat", "fence_xvm", "-T", "192.0.2.1"], "-T"),
        (&["--compat", "fence_virt", "-i", "ipv4"], "-i"),
        (&["--compat", "fence_virt", "-o", "off", "-n", "web2", "-T", "host"], "an IP address, not a name"),
        (&["--compat", "fence_virt", "-o", "off", "-n", "web2", "-p", "99999"], "a port from 1 to 65535"),
        (&["--compat", "fence_xvm", "-o", "off", "-n", "web2", "-C", "md5"], "none, sha1, sha256 or sha512"),
        (&["--compat", "fence_xvm", "-o", "off"], "needs a target"),
        (&["--compat", "fence_xvm", "-o", "off", "-n", "web1", "-H", "web2"], "name different targets"),
        (&["--compat", "fence_virt", "-o", "off", "-H", "web1", "-H", "web2"], "name different targets"),
    ];
    for (arguments, says) in cases {
        let ended = client(arguments);

        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains(says), "{says}: {ended:?}");
    }
}

#[test]
fn a_target_that_is_named_twice_alike_is_one_target_and_other_options_go_by_the_last() {
    let ended = client(&["--compat", "fence_xvm", "-o", "off", "-n", "web2", "-H", "web2", "-o", "null"]);

    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[test]
fn their_standard_input_is_read_under_their_name() {
    for name in ["fence_virt", "fence_xvm"] {
        let mut agent = Command::new(CLIENT);
        agent.arg0(name).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = agent.spawn().unwrap();
        let keys =
            b"action=null\nport=web2\nipport=1229\nauth=sha256\nhash=sha256\nkey_file=/k\ntimeout=30\n";
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), keys).unwrap();

        let output = child.wait_with_output().unwrap();

        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn an_option_of_another_dialect_is_told_under_our_own_name_and_passed_over() {
    let ended = client_with_input(&[], "action=null\nmulticast_address=225.0.0.12\nauth=sha256\n");

    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("multicast_address has no meaning"), "{ended:?}");
    assert!(ended.err.contains("auth has no meaning"), "{ended:?}");
}

#[test]
fn only_the_method_that_proves_the_stop_is_taken() {
    let onoff = client_with_input(&[], "action=null\nmethod=onoff\n");
    let cycle = client_with_input(&[], "action=null\nmethod=cycle\n");

    assert_eq!((onoff.code, onoff.err.as_str()), (0, ""));
    assert_eq!(cycle.code, 1);
    assert!(cycle.err.contains("must be onoff"), "{cycle:?}");
}

#[test]
fn validate_all_looks_for_the_serial_port() {
    let (_master, _slave, device) = crate::host::terminal();

    let there = client(&["--compat", "fence_virt", "-o", "validate-all", "-D", &device]);
    let none = client(&["--compat", "fence_virt", "-o", "validate-all", "-D", "/dev/none"]);

    assert_eq!((there.code, there.err.as_str()), (0, ""));
    assert_eq!(none.code, 1);
    assert!(none.err.contains("there is no /dev/none"), "{none:?}");
}
