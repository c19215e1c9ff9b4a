//! Options: right ones, wrong ones, none.

use crate::host::{Host, client, client_with_input, off_with_evidence};
use fence_vmchannel_protocol::{Ask, Power};

fn with_input(lines: &str) -> (crate::host::Ended, Ask) {
    let host = Host::on_a_socket(|socket| {
        let mut line = socket.accept();
        let request = line.hear();
        line.verdict(&request, off_with_evidence());
        line.wait_for_the_end();
        request.ask
    });
    let ended = client_with_input(&[], &format!("device={}\n{lines}", host.device));
    (ended, host.ends())
}

fn off(target: &str) -> Ask {
    Ask::Power(Power::Off, target.parse().unwrap())
}

#[test]
fn standard_input_is_read_when_there_are_no_arguments() {
    let (ended, ask) = with_input("# a comment\n\n  action=off\r\nnodename=web2\ntimeout=20\n");

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ask, off("web2"));
    assert_eq!(ended.err, "");
}

#[test]
fn the_plug_wins_over_the_node_name() {
    for key in ["plug", "port", "domain"] {
        let (ended, ask) = with_input(&format!("nodename=node2\noption=off\n{key}=web2\nnodename=node2\n"));

        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ask, off("web2"));
    }
}

#[test]
fn a_target_that_is_written_twice_alike_is_one_target() {
    let (ended, ask) = with_input("action=off\nplug=web2\nport=web2\nplug=web2\n");

    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ask, off("web2"));
}

#[test]
fn an_unknown_key_is_told_and_passed_over() {
    let (ended, ask) = with_input("action=off\nport=web2\ncolour=blue\nnonsense\n");

    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains(r#"unknown key "colour"; ignored"#), "{ended:?}");
    assert!(ended.err.contains(r#""nonsense" is not of the form key=value"#), "{ended:?}");
    assert_eq!(ask, off("web2"));
}

#[test]
fn unknown_keys_are_told_also_when_the_rest_is_wrong() {
    let ended = client_with_input(&[], "action=off\nprot=web2\n");

    assert_eq!(ended.code, 1);
    assert!(ended.err.contains(r#"unknown key "prot""#) && ended.err.contains("needs a target"), "{ended:?}");
}

#[test]
fn wrong_options_end_with_1_and_say_what_is_wrong() {
    let long = "x".repeat(1025);
    let cases: [(&[&str], &str); 14] = [
        (&["--bogus"], "--bogus"),
        (&["-o"], "a value is required"),
        (&["web2"], "unexpected argument"),
        (&["-o", "destroy", "-n", "web2"], "there are: on, off, reboot"),
        (&["-o", "off"], "needs a target"),
        (&[""], "unexpected argument"),
        (&["-o", "off", "-n", ""], "a name has 1 to 1024 bytes"),
        (&["-o", "off", "-n", "web2\x1b[2J"], "no control characters"),
        (&["-o", "off", "-n", "web2\n"], "no control characters"),
        (&["-o", "off", "-n", &long], "a name has 1 to 1024 bytes"),
        (&["-o", "off", "-n", "web2", "-U"], "is no UUID"),
        (&["-o", "off", "-n", "web2", "-t", "soon"], "must be a number of seconds from 0.1 to 3600"),
        (&["-o", "off", "-n", "web2", "-t", "0"], "must be a number of seconds"),
        (&["-o", "off", "-n", "web2", "-w", "601"], "from 0 to 600"),
    ];
    for (arguments, says) in cases {
        let ended = client(arguments);

        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains(says), "{says}: {ended:?}");
        assert!(!ended.err.contains('\x1b'), "nothing from the outside reaches the terminal raw");
        assert_eq!(ended.out, "");
    }
}

#[test]
fn wrong_standard_input_ends_with_1_and_says_what_is_wrong() {
    let cases = [
        ("", "needs a target"),
        ("action=\nport=web2\n", "there is no action \"\""),
        ("action=off\nport=web2\nplug=web3\n", "name different targets"),
        ("action=off\nplug=web2\nplug=web3\n", "name different targets"),
        ("action=off\nnodename=web2\nnodename=web3\n", "name different targets"),
        ("action=off\nport=we\x1bb2\n", "no control characters"),
        ("action=off\nuuid=6f1c1f5e-2f0a-4a83-9c3c-5e3c8d1b7a01\n", "is a switch"),
    ];
    for (input, says) in cases {
        let ended = client_with_input(&[], input);

        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains(says), "{says}: {ended:?}");
    }
}

#[test]
fn two_targets_are_told_with_the_key_by_which_a_device_of_pacemaker_names_one() {
    let two = "action=off\nnodename=node2\nport=node2\nplug=web2\n";

    let ours = client_with_input(&[], two);
    let theirs = client_with_input(&["--compat", "fence_xvm"], two);

    assert!(ours.err.contains("by plug= or by pcmk_host_map="), "{ours:?}");
    assert!(theirs.err.contains("by port= or by pcmk_host_map="), "{theirs:?}");
}

#[test]
fn help_and_version_succeed_and_name_every_first_word() {
    let help = client(&["--help"]);
    let version = client(&["-V"]);

    assert_eq!((help.code, version.code), (0, 0));
    for word in ["--plug", "broker --help", "--print-pcs", "--print-crm", "--compat"] {
        assert!(help.out.contains(word), "{word}: {}", help.out);
    }
    assert!(version.out.starts_with("fence_vmchannel "));
}

#[test]
fn the_broker_s_help_names_the_command_as_it_is_written() {
    let help = client(&["broker", "--help"]);

    assert_eq!(help.code, 0);
    assert!(help.out.contains("Usage: fence_vmchannel broker "), "{}", help.out);
}

#[test]
fn alone_on_a_terminal_it_gives_help_and_does_not_hang() {
    let (_master, slave, _) = crate::host::terminal();

    let output = std::process::Command::new(crate::host::CLIENT).stdin(slave).output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--plug"));
}
