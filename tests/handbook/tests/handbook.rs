//! The man pages and completions are those of the programs, and can be read.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use fence_vmchannel_handbook::{leaves, listed_settings};
use fence_vmchannel_host_agent::config::Config;
use fence_vmchannel_host_agent::policy::Policy;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn man_pages_and_completions_are_fresh() {
    let stale: Vec<_> = leaves(&root())
        .unwrap()
        .into_iter()
        .filter(|leaf| std::fs::read_to_string(root().join(&leaf.path)).ok().as_ref() != Some(&leaf.text))
        .map(|leaf| leaf.path)
        .collect();

    assert_eq!(stale, [] as [PathBuf; 0], "`make man` makes them anew");
}

#[test]
fn every_setting_has_its_line_in_the_handbook_and_the_other_way_round() {
    let error = Config::parse("no-such-key = 1\n", Path::new("agent.toml")).unwrap_err().to_string();
    let (_, known) = error.split_once("expected one of ").unwrap();
    let mut known: Vec<String> =
        known.lines().next().unwrap().split(", ").map(|key| key.trim_matches('`').to_owned()).collect();
    known.sort();

    let mut listed = listed_settings(&root()).unwrap();
    listed.sort();

    assert_eq!(listed, known, "the table of settings in docs/operations.md");
}

#[test]
fn every_setting_and_every_key_of_an_attribute_is_in_the_man_page() {
    let page = std::fs::read_to_string(root().join("docs/man/fence-vmchannel-agent.toml.5")).unwrap();
    let page = page.replace("\\-", "-");
    let attributes = ["name", "file", "command", "format", "source-name", "node", "every-seconds"];
    let others = ["timeout-seconds", "valid-seconds", "file-valid-seconds", "words", "host-name", "hide"];

    let settings = listed_settings(&root()).unwrap();
    let keys = settings.iter().map(String::as_str).chain(attributes).chain(others);
    let absent: Vec<&str> = keys
        .filter(|key| {
            let marks = [format!("\\fB{key}\\fR"), format!("\\fB[{key}]\\fR"), format!(".B {key}\n")];
            !marks.iter().any(|mark| page.contains(mark))
        })
        .collect();

    assert_eq!(absent, [] as [&str; 0]);
}

#[test]
fn every_man_page_is_shown_without_a_warning() {
    for leaf in leaves(&root()).unwrap().iter().filter(|leaf| leaf.path.starts_with("docs/man")) {
        let page = root().join(&leaf.path);
        let shown = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(&page)
            .env("LC_ALL", "C.UTF-8")
            .env("MANROFFSEQ", "")
            .env("MANWIDTH", "80")
            .output()
            .expect("man is there (packaging/install-build-deps)");

        assert!(shown.status.success() && shown.stderr.is_empty(), "{}: {shown:?}", page.display());
        assert!(!shown.stdout.is_empty(), "{}", page.display());
    }
}

/// The lines of a page's EXAMPLE, as they are shown.
fn example(page: &str) -> String {
    let source = std::fs::read_to_string(root().join("docs/man").join(page)).unwrap();
    let (_, example) = source.split_once(".SH EXAMPLE\n.nf\n").unwrap();
    example.split_once("\n.fi").unwrap().0.replace("\\-", "-")
}

#[test]
fn the_examples_of_the_man_pages_are_taken() {
    let policy = example("fence-vmchannel-policy.5").replace("\\(aq", "'");

    assert!(Config::parse(&example("fence-vmchannel-agent.toml.5"), Path::new("agent.toml")).is_ok());
    assert_eq!(Policy::read([(Ok(policy), "policy.toml".into())]).problems, []);
}

#[test]
fn bash_completes_commands_and_options() {
    let completed = |program: &str, words: &[&str]| {
        let script = format!(
            "source {0}/completions/bash/{program} && COMP_WORDS=({program} {1}) COMP_CWORD={2} && _{3} {program} '{4}' '' && \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            root().display(),
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len(),
            program.replace('-', "_"),
            words.last().unwrap(),
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };

    assert!(completed("fence-vmchanneld", &["conv"]).contains("convert-config"));
    assert!(completed("fence-vmchanneld", &["convert-config", "--open"]).contains("--open-as"));
    assert!(completed("fence_vmchannel", &["--del"]).contains("--delay"));
}

#[test]
fn make_install_puts_every_page_and_completion_somewhere() {
    let output =
        Command::new("make").args(["-n", "install", "DESTDIR=/dest"]).current_dir(root()).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(lines.contains("systemd/fence-vmchanneld-legacy-network.conf"), "{lines}");
    for leaf in leaves(&root()).unwrap() {
        let path = leaf.path.display().to_string();
        assert!(
            lines.lines().any(|line| line.contains(&path) && line.contains("/dest/usr/share/")),
            "{path}:\n{lines}"
        );
    }
}
