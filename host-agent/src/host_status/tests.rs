//! The keeper with real files and real programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::program::{ProgramError, output};
use super::*;
use crate::config::Config;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(text: &str) -> Result<Settings, String> {
    let text = format!("[host-status]\n{text}");
    Config::parse(&text, Path::new("agent.toml")).map(|config| config.host_status).map_err(|e| e.to_string())
}

fn script(directory: &TempDir, text: &str) -> Vec<String> {
    let path = directory.path().join("source");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    vec![path.display().to_string()]
}

fn value(facts: &Facts) -> Option<String> {
    let status = facts.tell(AgentHealth::Ok, LibvirtHealth::Connected, false);
    status.attributes[0].value.as_ref().map(ToString::to_string)
}

/// Runs the keeper until a condition holds.
async fn kept_until(facts: &Facts, directory: &TempDir, what: impl Fn(&HostStatus) -> bool) -> HostStatus {
    let keeper = Keeper::new(facts.clone(), Maintenance::of(directory.path()));
    let holds = async {
        loop {
            let status = facts.tell(AgentHealth::Ok, LibvirtHealth::Connected, false);
            if what(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = keeper.run() => panic!("a keeper runs for ever"),
        status = timeout(PATIENCE, holds) => status.expect("it holds in time"),
    }
}

/// A living process whose arguments are these.
fn lives(arguments: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.into_iter().any(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim() == arguments
    })
}

#[tokio::test]
async fn the_host_and_a_programs_number_in_words_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let program = script(&directory, "echo 'name=\"pingd\" host=\"n1\" value=\"300\"'");
    let text = format!(
        "host-name = 'rack3'\n[[host-status.attribute]]\nname = 'net'\nsource-name = 'pingd'\ncommand = {program:?}\n\
         format = 'attrd-updater'\nwords = {{ '0' = 'lost', '1..999' = 'poor', '1000..' = 'ok' }}\n"
    );
    let facts = Facts::new(settings(&text).unwrap());

    let status = kept_until(&facts, &directory, |status| status.attributes[0].value.is_some()).await;

    assert_eq!(value(&facts).as_deref(), Some("poor"));
    assert_eq!((status.host.unwrap().as_str(), status.maintenance), ("rack3", Some(false)));
    assert!(status.load_percent.is_some() && status.uptime_s.is_some() && status.processors >= Some(1));
}

#[tokio::test]
async fn what_is_hidden_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let facts = Facts::new(settings("hide = ['host-name', 'load', 'uptime']").unwrap());
    Maintenance::of(directory.path()).set(true).unwrap();

    let status = kept_until(&facts, &directory, |status| status.maintenance == Some(true)).await;

    assert_eq!(
        (status.host, status.load_percent, status.processors, status.uptime_s),
        (None, None, None, None)
    );
}

#[tokio::test]
async fn a_file_is_told_until_it_is_too_old_or_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    fs::write(&path, "degraded \nmore").unwrap();
    let text = format!(
        "[[host-status.attribute]]\nname = 'disk'\nfile = {path:?}\nevery-seconds = 1\ntimeout-seconds = 1\n\
         valid-seconds = 2\nfile-valid-seconds = 3600\n"
    );
    let facts = Facts::new(settings(&text).unwrap());

    let first = kept_until(&facts, &directory, |status| status.attributes[0].value.is_some()).await;
    let old = std::time::SystemTime::now() - Duration::from_secs(4000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    let status = kept_until(&facts, &directory, |status| status.attributes[0].value.is_none()).await;

    assert_eq!(first.attributes[0].value.as_ref().map(PlainText::as_str), Some("degraded"));
    assert!(status.attributes[0].age_s >= Some(2), "{status:?}");
}

#[tokio::test]
async fn what_is_no_regular_file_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();

    let error = file::content(fifo, None).await.unwrap_err().to_string();
    let endless = file::content(PathBuf::from("/dev/zero"), None).await.unwrap_err().to_string();

    assert_eq!((error.as_str(), endless.as_str()), ("is not a regular file", "is not a regular file"));
}

#[tokio::test]
async fn a_file_that_grows_older_is_the_same_trouble_at_every_look() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    fs::write(&path, "ok").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    let mut troubles = Vec::new();

    for age in [4000, 5000] {
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
        let read = file::content(path.clone(), Some(Duration::from_secs(3600))).await;
        troubles.push(read.unwrap_err().to_string());
    }

    assert_eq!(troubles, ["was written more than 3600 s ago, which is too old"; 2]);
}

#[tokio::test]
async fn a_link_or_a_file_of_two_names_is_not_read_and_the_log_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(path("secret"), path("link")).unwrap();
    fs::write(path("one"), "ok").unwrap();
    fs::hard_link(path("one"), path("other")).unwrap();

    let link = file::content(path("link"), None).await.unwrap_err().to_string();
    let twice = file::content(path("one"), None).await.unwrap_err().to_string();

    assert!(link.contains("set `file` to what it leads to"), "{link}");
    assert!(twice.contains("have it written to a file that has only one"), "{twice}");
}

#[tokio::test]
async fn a_value_with_unprintable_bytes_or_quotes_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    for text in ["\u{1b}[31mred", "\"quoted\"", "", &"x".repeat(65), "caf\u{e9}", "1`reboot`"] {
        let path = directory.path().join("state");
        fs::write(&path, text).unwrap();
        let settings =
            settings(&format!("[[host-status.attribute]]\nname = 'disk'\nfile = {path:?}\n")).unwrap();
        let facts = Facts::new(settings);

        let status = kept_until(&facts, &directory, |status| status.attributes[0].age_s.is_some()).await;

        assert_eq!(status.attributes[0].value, None, "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_not_renewed_is_unknown_when_its_time_is_over() {
    let text = "[[host-status.attribute]]\nname = 'net'\nfile = '/nonexistent'\nvalid-seconds = 30\n";
    let facts = Facts::new(settings(text).unwrap());
    facts.read(0, Some("ok".parse().unwrap()));

    tokio::time::advance(Duration::from_secs(30)).await;
    let in_time = value(&facts);
    tokio::time::advance(Duration::from_millis(1)).await;

    assert_eq!((in_time.as_deref(), value(&facts)), (Some("ok"), None));
}

#[tokio::test(start_paused = true)]
async fn what_a_keeper_that_is_no_more_saw_of_the_host_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let facts = Facts::new(Settings::default());
    let tell = || facts.tell(AgentHealth::Ok, LibvirtHealth::Connected, false);
    drop(Keeper::new(facts.clone(), Maintenance::of(directory.path())));

    let before = tell();
    tokio::time::advance(HOST_VALID + Duration::from_millis(1)).await;

    assert!(before.maintenance.is_some() && before.uptime_s.is_some());
    assert_eq!((tell().maintenance, tell().uptime_s, tell().load_percent), (None, None, None));
}

/// Words that no other test's process has, whoever else runs these tests on this machine.
fn ours(words: &str) -> String {
    format!("{words}{:08}", std::process::id())
}

#[tokio::test]
async fn a_program_that_does_not_end_is_killed_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let (child, last) = (ours("sleep 1"), ours("sleep 2"));
    let program = script(&directory, &format!("{child} & echo 1; {last}"));

    let ended = output(&program, Duration::from_millis(500)).await;

    assert!(matches!(ended, Err(ProgramError::Late(_))), "{ended:?}");
    assert!(!lives(&child) && !lives(&last));
}

#[tokio::test]
async fn children_that_a_program_leaves_behind_do_not_outlive_it() {
    let directory = tempfile::tempdir().unwrap();
    let child = ours("sleep 3");
    let program = script(&directory, &format!("{child} & echo 7"));

    let ended = timeout(Duration::from_secs(30), output(&program, PATIENCE)).await.unwrap();

    assert_eq!(ended.unwrap(), "7\n");
    assert!(!lives(&child));
}

#[tokio::test]
async fn a_program_that_prints_without_end_is_killed_at_the_bound() {
    let directory = tempfile::tempdir().unwrap();
    let talker = ours("yes 4");
    let program = script(&directory, &format!("exec {talker}"));

    let ended = timeout(Duration::from_secs(30), output(&program, PATIENCE)).await.unwrap();

    assert!(matches!(ended, Err(ProgramError::TooLong)), "{ended:?}");
    assert!(!lives(&talker));
}

#[tokio::test]
async fn a_program_that_fails_or_is_not_there_has_no_output() {
    let directory = tempfile::tempdir().unwrap();
    let failed = output(&script(&directory, "echo 1000; exit 3"), PATIENCE).await;
    let missing = output(&["/nonexistent/program".to_owned()], PATIENCE).await;

    assert!(matches!(failed, Err(ProgramError::Ended(status)) if status.code() == Some(3)), "{failed:?}");
    assert!(matches!(missing, Err(ProgramError::Start(_))), "{missing:?}");
}

#[tokio::test]
async fn no_shell_reads_a_programs_arguments_and_its_environment_is_bare() {
    let words = ["/usr/bin/printf", "%s", "$(reboot); `reboot` > x"].map(str::to_owned);
    let environment = output(&["/usr/bin/env".to_owned()], PATIENCE).await.unwrap();

    assert_eq!(output(&words, PATIENCE).await.unwrap(), "$(reboot); `reboot` > x");
    assert_eq!(environment.lines().count(), 2, "{environment}");
}

#[test]
fn settings_that_cannot_hold_are_told_with_what_to_write() {
    let many: String =
        (0..17).map(|n| format!("[[host-status.attribute]]\nname = 'a{n}'\nfile = '/a'\n")).collect();
    let attribute = |text: &str| format!("[[host-status.attribute]]\nname = 'net'\n{text}\n");
    for (text, told) in [
        ("hide = ['everything']".to_owned(), "host-name"),
        ("host-name = \"a\\u001b\"".to_owned(), "printable"),
        ("hostname = 'a'".to_owned(), "unknown field"),
        (attribute(""), "`file` or `command`"),
        (attribute("file = '/a'\ncommand = ['/b']"), "not both"),
        (attribute("file = 'a'"), "absolute"),
        (attribute("command = 'ping'"), "sequence"),
        (attribute("command = []"), "no shell"),
        (attribute("command = ['ping', '-c1']"), "absolute"),
        (attribute("file = '/a'\nevery-seconds = 0"), "every-seconds = 0: expected 1 to 86400"),
        (attribute("file = '/a'\nvalid-seconds = 14"), "valid-seconds = 14: expected 15"),
        (attribute("command = ['/a']\nfile-valid-seconds = 9"), "for a `file`"),
        (attribute("file = '/a'\nnode = 'n1'"), "crm-mon"),
        (attribute("file = '/a'\nwords = { '1..' = 'a', '..1' = 'b' }"), "overlap"),
        (attribute("file = '/a'\nevery = 3"), "unknown field"),
        (format!("{}{}", attribute("file = '/a'"), attribute("file = '/b'")), "\"net\" is there twice"),
        (attribute("file = '/a'").replace("net", "a b"), "letters"),
        (attribute("file = '/a'").replace("net", "maintenance"), "take another"),
        (attribute("file = '/a'").replace("'net'", "'name'"), "take another"),
        (many, "17 attributes"),
    ] {
        let error = settings(&text).unwrap_err();
        assert!(error.starts_with("agent.toml: ") && error.contains(told), "{text}\n{error}");
    }
}

#[test]
fn settings_are_printed_as_they_hold_and_can_be_read_again() {
    let text = "host-name = 'rack3'\nhide = ['uptime']\n[[host-status.attribute]]\nname = 'net'\nnode = 'n1'\n\
                command = ['/usr/sbin/crm_mon', '-1']\nformat = 'crm-mon'\nwords = { '0' = 'lost', '1..' = 'ok' }\n\
                [[host-status.attribute]]\nname = 'disk'\nfile = '/run/disk'\nfile-valid-seconds = 60\n";
    let first = settings(text).unwrap();

    let printed = first.lines().join("\n");
    let again = Config::parse(&printed, Path::new("printed")).unwrap().host_status;

    assert_eq!(again, first, "{printed}");
    assert!(printed.contains("every-seconds = 10") && printed.contains("source-name = \"net\""), "{printed}");
}
