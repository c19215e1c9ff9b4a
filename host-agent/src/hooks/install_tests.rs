use super::{Change, ChangeReport, FILE_NAME, InstallError, Setup, State, install, remove, status};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use tempfile::TempDir;

struct Host {
    temporary: TempDir,
    setup: Setup,
}

/// A process with libvirtd's name and a pid file; SIGHUP ends it.
struct Daemon(Child);

impl Host {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        std::fs::write(path("program"), "#!/bin/sh\n# version 1\n").unwrap();
        let setup = Setup {
            hooks_dir: path("hooks"),
            runtime_dir: path("run"),
            program: Some(path("program")),
            pid_files: vec![path("libvirtd.pid"), path("same.pid"), path("stale.pid")],
        };
        Self { temporary, setup }
    }

    fn file(&self) -> PathBuf {
        self.setup.hooks_dir.join("qemu.d").join(FILE_NAME)
    }

    fn start_libvirtd(&self) -> Daemon {
        let program = self.temporary.path().join("libvirtd");
        if !program.exists() {
            std::os::unix::fs::symlink("/bin/sleep", &program).unwrap(); // a process has the name it is called by
        }
        // Whoever runs the tests may ignore SIGHUP, as nohup does.
        let child = Command::new("env").arg("--default-signal=HUP").arg(&program).arg("600").spawn().unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        while std::fs::read_to_string(&comm).unwrap() != "libvirtd\n" {
            std::thread::yield_now(); // not yet past its exec
        }
        for name in ["libvirtd.pid", "same.pid"] {
            std::fs::write(self.temporary.path().join(name), format!("{}\n", child.id())).unwrap();
        }
        Daemon(child)
    }

    fn update_program(&self) {
        std::fs::write(self.setup.program.as_ref().unwrap(), "#!/bin/sh\n# version 2\n").unwrap();
    }

    fn install(&self) -> ChangeReport {
        install(&self.setup, false, false).unwrap()
    }

    fn state(&self) -> State {
        status(&self.setup).unwrap().state
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn names(dir: &Path) -> Vec<String> {
    dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_hook_is_missing_until_it_is_installed() {
    let host = Host::new();
    assert_eq!(host.state(), State::Missing);

    let report = host.install();

    assert_eq!(
        (report.change, report.status.state, report.status.next),
        (Change::Installed, State::Installed, None)
    );
    assert_eq!(std::fs::read(host.file()).unwrap(), b"#!/bin/sh\n# version 1\n");
    assert_eq!(host.file().metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(names(&host.setup.hooks_dir), ["qemu.d"], "nothing is left behind");
}

#[test]
fn installing_again_changes_nothing() {
    let host = Host::new();
    host.install();
    let before = host.file().metadata().unwrap().modified().unwrap();

    let again = host.install();

    assert_eq!(again.change, Change::None);
    assert_eq!(host.file().metadata().unwrap().modified().unwrap(), before);
}

#[test]
fn another_version_is_outdated_until_it_is_updated() {
    let host = Host::new();
    host.install();
    host.update_program();
    assert_eq!(host.state(), State::Outdated);

    let report = host.install();

    assert_eq!((report.change, report.status.state), (Change::Updated, State::Installed));
}

#[test]
fn a_hook_that_cannot_be_executed_is_outdated() {
    let host = Host::new();
    host.install();
    std::fs::set_permissions(host.file(), std::fs::Permissions::from_mode(0o644)).unwrap();

    assert_eq!(host.state(), State::Outdated);
    assert_eq!(host.install().change, Change::Updated);
}

#[test]
fn a_daemon_older_than_the_first_hook_has_not_noticed_it_until_it_is_told() {
    let host = Host::new();
    let mut daemon = host.start_libvirtd();
    let report = host.install();
    assert_eq!(report.status.state, State::NotNoticed);
    assert!(report.status.next.unwrap().contains("--reload"));

    let report = install(&host.setup, true, false).unwrap();

    assert_eq!(report.reloaded, [i32::try_from(daemon.0.id()).unwrap()]);
    assert_eq!(report.change, Change::None);
    assert_eq!(daemon.0.wait().unwrap().signal(), Some(1), "it got SIGHUP");
}

#[test]
fn a_daemon_of_which_nobody_can_hear_whether_it_looked_has_not_noticed() {
    let host = Host::new();
    let _daemon = host.start_libvirtd();
    let known = super::Daemon::running(&host.setup.pid_files);

    let noticed = super::tell(&known[0], Path::new("/no/such/directory")).unwrap();

    assert!(!noticed);
}

#[test]
fn a_daemon_that_was_told_is_not_told_again_also_not_after_an_update() {
    let host = Host::new();
    let daemon = host.start_libvirtd();
    let known = super::Daemon::running(&host.setup.pid_files);
    host.install();
    super::noticed::remember(&known, &host.setup.runtime_dir).unwrap();
    host.update_program();

    let report = install(&host.setup, true, false).unwrap();

    assert_eq!((report.change, report.reloaded), (Change::Updated, vec![]));
    assert_eq!(report.status.daemons.len(), 1, "one daemon, though two pid files name it");
    assert_eq!(report.status.state, State::Installed);
    drop(daemon);
}

#[test]
fn a_daemon_started_after_the_hook_has_noticed_it() {
    let host = Host::new();
    host.install();
    wait_beyond_doubt();

    let _daemon = host.start_libvirtd();

    assert_eq!(host.state(), State::Installed);
}

#[test]
fn a_daemon_started_after_somebody_elses_hook_notices_ours_too() {
    let host = Host::new();
    std::fs::create_dir_all(&host.setup.hooks_dir).unwrap();
    std::fs::copy("/bin/true", host.setup.hooks_dir.join("qemu")).unwrap();
    wait_beyond_doubt();
    let _daemon = host.start_libvirtd();
    wait_beyond_doubt();

    assert_eq!(host.install().status.state, State::Installed);
}

#[test]
fn a_call_of_the_hook_proves_that_it_was_noticed() {
    let host = Host::new();
    let _daemon = host.start_libvirtd();
    host.install();
    wait_beyond_doubt();
    std::fs::write(host.setup.runtime_dir.join("hook-called"), "").unwrap();

    let report = status(&host.setup).unwrap();

    assert_eq!((report.state, report.last_called_seconds_ago), (State::Installed, Some(0)));
}

#[test]
fn a_dry_run_touches_nothing() {
    let host = Host::new();
    let mut daemon = host.start_libvirtd();

    let report = install(&host.setup, true, true).unwrap();

    assert_eq!((report.change, report.dry_run, report.reloaded.len()), (Change::Installed, true, 1));
    assert!(!host.setup.hooks_dir.exists() && !host.setup.runtime_dir.exists());
    assert!(daemon.0.try_wait().unwrap().is_none());
}

#[test]
fn removing_takes_the_hook_and_its_stamps_away_and_may_be_repeated() {
    let host = Host::new();
    host.install();

    assert_eq!(remove(&host.setup, true).unwrap().change, Change::Removed);
    assert!(host.file().exists(), "that was a dry run");
    assert_eq!(remove(&host.setup, false).unwrap().status.state, State::Missing);
    assert_eq!(remove(&host.setup, false).unwrap().change, Change::None);
    assert_eq!(names(&host.setup.runtime_dir), Vec::<String>::new());
}

#[test]
fn without_a_program_the_error_says_where_it_was_looked_for() {
    let mut host = Host::new();
    host.setup.program = Some("/no/such/program".into());

    let error = install(&host.setup, false, false).unwrap_err();

    assert!(error.to_string().contains("/no/such/program"), "{error}");
    assert_eq!(host.state(), State::Missing, "the state is told without it");
}

#[test]
fn who_may_not_write_is_told_to_be_root() {
    let host = Host::new();
    std::fs::create_dir(&host.setup.hooks_dir).unwrap();
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);

    let error = super::failure(&host.setup.hooks_dir, denied);

    assert!(matches!(&error, InstallError::Denied(path) if *path == host.setup.hooks_dir));
    assert!(error.to_string().ends_with("run this command as root"));
}

#[test]
fn the_report_is_plain_for_programs() {
    let host = Host::new();

    let json = serde_json::to_value(host.install()).unwrap();

    assert_eq!(json["change"], "installed");
    assert_eq!(json["status"]["state"], "installed");
    assert_eq!(json["status"]["next"], serde_json::Value::Null);
}

/// What must be in order is put further apart than the kernel's clocks can be wrong; time itself is the event.
fn wait_beyond_doubt() {
    std::thread::sleep(std::time::Duration::from_millis(100));
}
