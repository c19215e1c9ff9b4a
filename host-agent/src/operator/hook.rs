//! `hook install|remove|status`.
//!
//! In:  the operator's wish. Out: what [`crate::hooks::install`] did or found, and what to do next.

use std::io::{self, Write};

use super::Failure;
use super::cli::HookCommand;
use super::report::{Report, tell};
use crate::config::Config;
use crate::hooks::install::{self, Change, ChangeReport, Setup, State, StatusReport};

/// Runs the command; the exit code.
pub fn hook(config: &Config, command: HookCommand, json: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    let setup = Setup::system(&config.runtime_dir);
    Ok(match command {
        HookCommand::Install { reload, dry_run } => {
            tell(&install::install(&setup, reload, dry_run)?, json, out)?
        }
        HookCommand::Remove { dry_run } => tell(&install::remove(&setup, dry_run)?, json, out)?,
        HookCommand::Status => tell(&install::status(&setup)?, json, out)?,
    })
}

impl Report for StatusReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let state = match self.state {
            State::Missing => "missing",
            State::Outdated => "outdated",
            State::NotNoticed => "installed, but not noticed by libvirt",
            State::Installed => "installed",
        };
        writeln!(out, "hook: {state} ({})", self.file.display())?;
        for daemon in &self.daemons {
            let calls = if daemon.noticed { "calls it" } else { "does not call it" };
            writeln!(out, "{} (pid {}): {calls}", daemon.name, daemon.pid)?;
        }
        if self.daemons.is_empty() {
            writeln!(out, "no libvirt daemon is running: it will find the hook when it starts")?;
        }
        if let Some(seconds) = self.last_called_seconds_ago {
            writeln!(out, "last called: {seconds} s ago")?;
        }
        self.next.iter().try_for_each(|next| writeln!(out, "next: {next}"))
    }

    fn exit_code(&self) -> u8 {
        u8::from(self.state != State::Installed)
    }
}

/// What was asked for was done, so it is 0 even where the status says that a step is left.
impl Report for ChangeReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let done = match self.change {
            Change::None => "nothing to change",
            Change::Installed => "installed",
            Change::Updated => "updated",
            Change::Removed => "removed",
        };
        if self.dry_run {
            writeln!(out, "dry run, nothing was changed; would be: {done}")?;
        } else {
            writeln!(out, "{done}: {}", self.status.file.display())?;
        }
        for pid in &self.reloaded {
            let verb = if self.dry_run { "would be told" } else { "was told" };
            writeln!(out, "pid {pid} {verb} to look at its hooks again (SIGHUP)")?;
        }
        if self.dry_run || self.change == Change::Removed || self.status.state == State::Missing {
            return Ok(());
        }
        self.status.write(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &impl Report) -> String {
        let mut out = Vec::new();
        report.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_host_without_the_hook_is_told_what_to_do_and_is_not_well() {
        let directory = tempfile::tempdir().unwrap();
        let setup = Setup {
            hooks_dir: directory.path().join("hooks"),
            runtime_dir: directory.path().to_owned(),
            program: None,
            pid_files: Vec::new(),
        };

        let report = install::status(&setup).unwrap();

        assert_eq!(report.exit_code(), 1);
        assert!(text(&report).starts_with("hook: missing ("), "{}", text(&report));
        assert!(
            text(&report).contains("next: run `fence-vmchanneld hook install --reload`"),
            "{}",
            text(&report)
        );
    }

    #[test]
    fn installing_says_what_was_done_and_how_the_hook_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let setup = Setup {
            hooks_dir: directory.path().join("hooks"),
            runtime_dir: directory.path().to_owned(),
            program: Some(program),
            pid_files: Vec::new(),
        };

        let report = install::install(&setup, false, false).unwrap();

        assert_eq!(report.exit_code(), 0);
        assert!(text(&report).contains("installed: "), "{}", text(&report));
        assert!(text(&report).contains("hook: installed ("), "{}", text(&report));
    }
}
