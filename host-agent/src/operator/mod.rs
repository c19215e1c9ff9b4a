//! The operator's commands of `fence-vmchanneld`.
//!
//! In:  the command line. Out: text or JSON on the given writers, and the exit code.
//!
//! Invariant: a command that fails says on stderr what to do next and ends with 1 (`explain`: 2); usage errors end with
//! 2; with `--json` stdout holds one JSON object in every case.

pub mod channel;
pub mod check_config;
pub mod cli;
pub mod convert;
pub mod explain;
pub mod guests;
pub mod hook;
pub mod logging;
pub mod maintenance;
pub mod report;
pub mod table;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};

use clap::Parser;
use clap::error::ErrorKind;

use crate::config::{Config, ConfigError};
use crate::control::AskError;
use crate::daemon::{self, DaemonError};
use crate::hooks::install::InstallError;
use crate::host_status::FlagError;
use channel::key::{self, KeyCommand};
use cli::{ChannelCommand, Command, CommandLine};
use report::tell;

/// Why a command brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The running agent.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The running agent's answer.
    #[error("{0}")]
    Answer(String),
    /// Channels.
    #[error(transparent)]
    Channel(#[from] channel::ChannelError),
    /// The old configuration.
    #[error(transparent)]
    Convert(#[from] convert::ConvertError),
    /// Keys.
    #[error(transparent)]
    Key(#[from] channel::key::KeyCommandError),
    /// libvirt.
    #[error(transparent)]
    Libvirt(#[from] channel::LibvirtError),
    /// The hook.
    #[error(transparent)]
    Hook(#[from] InstallError),
    /// The maintenance flag.
    #[error(transparent)]
    Maintenance(#[from] FlagError),
    /// The agent itself.
    #[error(transparent)]
    Agent(#[from] DaemonError),
    /// Nobody reads what we print.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

/// Runs a command line; the exit code.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<u8> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(help) if !help.use_stderr() => return write!(out, "{}", help.render()).map(|()| 0),
        Err(error) => {
            let text = error.render().to_string();
            let is_incomplete = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            let reason = if is_incomplete { "a command is missing\n\n" } else { "" };
            let text = format!("{reason}{}", text.trim_start_matches("error: "));
            complain(text.trim_end(), json, out, errors)?;
            return Ok(2);
        }
    };
    let failure = match run(&line, out) {
        Ok(code) => return Ok(code),
        Err(failure) => failure,
    };
    complain(&in_full(&failure), json, out, errors)?;
    Ok(if matches!(line.command, Command::Explain { .. }) { 2 } else { 1 })
}

/// People read stderr, programs the object on stdout.
fn complain(text: &str, json: bool, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<()> {
    if json {
        writeln!(out, "{}", serde_json::json!({ "error": text }))?;
    }
    writeln!(errors, "fence-vmchanneld: {text}")
}

fn run(line: &CommandLine, out: &mut dyn Write) -> Result<u8, Failure> {
    let (file, json) = (line.config.as_deref(), line.json);
    if line.command == Command::CheckConfig {
        return Ok(tell(&check_config::check(file), json, out)?);
    }
    if let Command::ConvertConfig(args) = &line.command {
        return Ok(tell(&convert::convert(args)?, json, out)?);
    }
    let config = Config::load(file)?;
    Ok(match &line.command {
        Command::Run { simulate } => {
            logging::in_the_background()?;
            daemon::run(&config, simulate.as_deref()).map(|()| 0)?
        }
        Command::Guests => tell(&guests::guests(&config)?, json, out)?,
        Command::Explain { source, action, target } => {
            tell(&explain::explain(&config, source, *action, target)?, json, out)?
        }
        Command::Channel(ChannelCommand::Add(args)) => tell(&channel::add(&config, args)?, json, out)?,
        Command::Channel(ChannelCommand::Remove(args)) => tell(&channel::remove(&config, args)?, json, out)?,
        Command::Channel(ChannelCommand::Show { domains }) => {
            tell(&channel::show(&config, domains)?, json, out)?
        }
        Command::Channel(ChannelCommand::Key(command)) => match command {
            KeyCommand::Add(args) => tell(&key::add(&config, args)?, json, out)?,
            KeyCommand::Remove(args) => tell(&key::remove(&config, args)?, json, out)?,
            KeyCommand::List { domains } => tell(&key::list(&config, domains)?, json, out)?,
        },
        Command::Maintenance { what } => tell(&maintenance::maintenance(&config, *what)?, json, out)?,
        Command::Hook(command) => hook::hook(&config, command, json, out)?,
        Command::CheckConfig | Command::ConvertConfig(_) => 0,
    })
}

/// The failure with its causes, where the text does not name them already.
fn in_full(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text} ({words})");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn ran(words: &[&str]) -> (u8, String, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let words = std::iter::once("fence-vmchanneld").chain(words.iter().copied()).map(OsString::from);
        let code = main(words, &mut out, &mut errors).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    fn settings(directory: &Path, uri: &str) -> String {
        let file = directory.join("agent.toml");
        let runtime = directory.display();
        std::fs::write(&file, format!("libvirt-uri = {uri:?}\nruntime-dir = '{runtime}'\n")).unwrap();
        file.display().to_string()
    }

    #[test]
    fn a_wrong_word_is_a_usage_error_with_our_name_in_front() {
        let (code, out, errors) = ran(&["chanel"]);

        assert_eq!((code, out.as_str()), (2, ""));
        assert!(errors.starts_with("fence-vmchanneld: unrecognized subcommand"), "{errors}");
    }

    #[test]
    fn help_is_no_error() {
        let (code, out, errors) = ran(&["--help"]);

        assert_eq!((code, errors.as_str()), (0, ""));
        assert!(out.contains("check-config"), "{out}");
    }

    #[test]
    fn without_a_running_agent_guests_fails_and_explain_could_not_be_answered() {
        let directory = tempfile::tempdir().unwrap();
        let file = settings(directory.path(), "test:///default");

        let guests = ran(&["--config", &file, "guests"]);
        let explain = ran(&["--config", &file, "--json", "explain", "web1", "off", "web2"]);

        assert_eq!((guests.0, explain.0), (1, 2));
        assert!(guests.2.starts_with("fence-vmchanneld: the agent is not running"), "{}", guests.2);
        assert!(explain.1.starts_with("{\"error\":\"the agent is not running"), "{}", explain.1);
    }

    #[test]
    fn an_unknown_domain_is_told_with_the_names_near_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = settings(directory.path(), "test:///default");

        let (code, _, errors) = ran(&["--config", &file, "channel", "add", "--cluster", "web", "tets"]);

        assert_eq!(code, 1);
        assert_eq!(errors, "fence-vmchanneld: there is no domain \"tets\": did you mean \"test\"?\n");
    }

    #[test]
    fn a_dry_run_prints_the_change_and_makes_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = settings(directory.path(), "test:///default");

        let add = ["--config", &file, "channel", "add", "--cluster", "web", "--dry-run", "test"];
        let (code, out, _) = ran(&add);

        assert_eq!(code, 0);
        assert!(out.contains("cluster  live        would be set to \"web\""), "{out}");
        assert!(out.contains("persistent: <channel type='unix'><source mode='connect'"), "{out}");
        assert!(out.ends_with("dry run: nothing was changed\n"), "{out}");
    }

    /// libvirt's test driver cannot attach devices, so this is a real failure of the first step.
    #[test]
    fn a_step_that_libvirt_refuses_is_told_and_ends_with_failure() {
        let directory = tempfile::tempdir().unwrap();
        let file = settings(directory.path(), "test:///default");

        let (code, out, _) = ran(&["--config", &file, "channel", "add", "--cluster", "web", "test"]);

        assert_eq!(code, 1);
        assert!(out.contains("failed: libvirt says: "), "{out}");
        assert!(out.contains("not tried"), "{out}");
    }

    #[test]
    fn the_label_of_a_domain_is_shown_and_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let node = directory.path().join("node.xml");
        let label = "<metadata><f:member xmlns:f='urn:fence-vmchannel:1' cluster='web'/></metadata>";
        let domain = format!(
            "<domain type='test'><name>t1</name>{label}<memory>8192</memory><os><type>hvm</type></os></domain>"
        );
        std::fs::write(&node, format!("<node>{domain}</node>")).unwrap();
        let file = settings(directory.path(), &format!("test://{}", node.display()));

        let shown = ran(&["--config", &file, "channel", "show", "t1"]);
        let removed = ran(&["--config", &file, "--json", "channel", "remove", "t1"]);

        assert!(shown.1.contains("running  web"), "{}", shown.1);
        assert_eq!(removed.0, 0, "{}", removed.1);
        assert!(removed.1.contains("removed (was \\\"web\\\")"), "{}", removed.1);
    }
}
