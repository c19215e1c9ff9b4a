//! `hook install|remove|status`.
//!
//! In:  the operator's wish. Out: what [`crate::hooks::install`] did or found, and what to do next.

use std::io::{self, Write};

use super::Failure;
use super::cli::HookCommand;
use super::report::{Report, tell};
use crate::config::Config;
use crate::hooks::install::{self, Change, ChangeReport, DaemonReport, Setup, State, StatusReport};

/// Runs the command; the exit code.
pub fn hook(config: &Config, command: &HookCommand, json: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut setup = Setup::system(&config.runtime_dir);
    Ok(match command {
        HookCommand::Install { program, reload, dry_run } => {
            setup.program.clone_from(program);
            tell(&install::install(&setup, *reload, *dry_run)?, json, out)?
        }
        HookCommand::Remove { dry_run } => tell(&install::remove(&setup, *dry_run)?, json, out)?,
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
        callers(self).iter().try_for_each(|caller| writeln!(out, "{caller}"))?;
        if let Some(seconds) = self.last_called_seconds_ago {
            writeln!(out, "last called: {} ago", in_words(seconds))?;
        }
        self.next.iter().try_for_each(|next| writeln!(out, "next: {next}"))
    }

    fn exit_code(&self) -> u8 {
        u8::from(self.state != State::Installed)
    }
}

impl Report for ChangeReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (done, file) = (done(self), self.status.file.display());
        if self.dry_run {
            writeln!(out, "dry run, nothing was changed; the hook would be: {done} ({file})")?;
            let mut pids = self.reloaded.iter();
            return pids.try_for_each(|pid| {
                writeln!(out, "pid {pid} would be told to look at its hooks again (SIGHUP)")
            });
        }
        if self.change == Change::Removed || self.status.state == State::Missing {
            return writeln!(out, "hook: {done} ({file})");
        }
        writeln!(out, "hook: {done} ({file}); {}", callers(&self.status).join(", "))?;
        self.status.next.iter().try_for_each(|next| writeln!(out, "next: {next}"))
    }

    /// 0 where what was asked for was done, even if the status says that a step is left; a daemon that was told in vain is not.
    fn exit_code(&self) -> u8 {
        let was_told = !self.dry_run && !self.reloaded.is_empty();
        u8::from(was_told && self.status.state == State::NotNoticed)
    }
}

fn done(report: &ChangeReport) -> &'static str {
    match (report.change, report.status.state) {
        (Change::None, State::Missing) => "not there, nothing to remove",
        (Change::None, State::Outdated | State::NotNoticed | State::Installed) => "installed already",
        (Change::Installed, _) => "installed",
        (Change::Updated, _) => "updated",
        (Change::Removed, _) => "removed",
    }
}

/// Who calls the hook, and who does not.
fn callers(status: &StatusReport) -> Vec<String> {
    if status.daemons.is_empty() {
        return vec!["no libvirt daemon is running: it will find the hook when it starts".to_owned()];
    }
    let caller = |daemon: &DaemonReport| {
        let calls = if daemon.noticed { "calls it" } else { "does not call it" };
        format!("{} (pid {}) {calls}", daemon.name, daemon.pid)
    };
    status.daemons.iter().map(caller).collect()
}

/// As coarse as a person would say it.
fn in_words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn text(report: &impl Report) -> String {
        let mut out = Vec::new();
        report.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn setup(directory: &Path, program: Option<PathBuf>) -> Setup {
        Setup {
            hooks_dir: directory.join("hooks"),
            runtime_dir: directory.to_owned(),
            program,
            pid_files: Vec::new(),
        }
    }

    #[test]
    fn a_host_without_the_hook_is_told_what_to_do_and_is_not_well() {
        let directory = tempfile::tempdir().unwrap();
        let setup = setup(directory.path(), None);

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
        let setup = setup(directory.path(), Some(program));

        let report = install::install(&setup, false, false).unwrap();

        assert_eq!(report.exit_code(), 0);
        let again = install::install(&setup, false, false).unwrap();
        let libvirtd = DaemonReport { name: "libvirtd".into(), pid: 42, noticed: true };
        let status = StatusReport { daemons: vec![libvirtd], ..report.status.clone() };
        let called = ChangeReport { status, ..report.clone() };
        let file = setup.hooks_dir.join("qemu.d/50-fence-vmchannel");
        let (file, rest) =
            (file.display(), "no libvirt daemon is running: it will find the hook when it starts");
        assert_eq!(text(&report), format!("hook: installed ({file}); {rest}\n"));
        assert_eq!(text(&again), format!("hook: installed already ({file}); {rest}\n"));
        assert_eq!(text(&called), format!("hook: installed ({file}); libvirtd (pid 42) calls it\n"));
    }

    #[test]
    fn a_reload_that_libvirt_did_not_notice_is_no_success() {
        let directory = tempfile::tempdir().unwrap();
        let setup = setup(directory.path(), Some("/bin/true".into()));
        let told = install::install(&setup, false, false).unwrap();
        let unheard = StatusReport { state: State::NotNoticed, ..told.status.clone() };
        let not_told = ChangeReport { status: unheard.clone(), ..told };

        let told_in_vain = ChangeReport { reloaded: vec![42], ..not_told.clone() };
        let rehearsed = ChangeReport { dry_run: true, ..told_in_vain.clone() };

        let codes = [&told_in_vain, &not_told, &rehearsed].map(Report::exit_code);
        assert_eq!(codes, [1, 0, 0], "without --reload a step is left, and is told");
    }

    #[test]
    fn a_time_is_told_as_a_person_would_say_it() {
        let told = [9, 631, 7_300, 200_000].map(in_words);

        assert_eq!(told, ["9 s", "10 min", "2 h", "2 days"]);
    }
}
