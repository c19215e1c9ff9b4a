//! `check-config`: the settings that hold, and what is wrong with them or with the policy's files.
//!
//! In:  the settings' file and the policy's directory. Out: a list, problems with file and line.
//!
//! Invariant: reads only; needs neither the agent nor libvirt. A problem is 1; a notice (something is not there yet) is 0.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::report::Report;
use super::table::plain;
use crate::config::{Config, DEFAULT_FILE, Legacy};
use crate::hooks::install::{self, Setup};
use crate::host_status;
use crate::legacy::network::{key_warnings, read_key};
use crate::policy::Policy;

/// Where libvirt's daemons listen for `qemu:///system`.
const LIBVIRT_SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];

/// What the administrator copies to let the agent listen on a network, which its unit forbids; and whither.
pub(super) const NETWORK_DROP_IN: [&str; 2] = [
    "/usr/share/doc/fence-vmchannel/fence-vmchanneld-legacy-network.conf",
    "/etc/systemd/system/fence-vmchanneld.service.d/legacy-network.conf",
];

/// What `check-config` prints.
#[derive(Debug, Serialize)]
pub struct CheckReport {
    file: PathBuf,
    file_exists: bool,
    settings: Option<Settings>,
    problems: Vec<String>,
    notices: Vec<String>,
}

/// The settings that hold, with the keys of the file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    libvirt_uri: String,
    libvirt_run_dir: Option<PathBuf>,
    runtime_dir: PathBuf,
    policy_dir: PathBuf,
    kill_after_seconds: u64,
    give_up_after_seconds: u64,
    reconcile_seconds: u64,
    host_status: host_status::Settings,
    #[serde(skip_serializing_if = "Option::is_none")]
    legacy: Option<Legacy>,
}

/// The part of the settings that has a name of its own.
#[derive(Serialize)]
struct Part<'a> {
    legacy: &'a Legacy,
}

/// Checks the settings in this file and the policy that they name.
#[must_use]
pub fn check(file: Option<&Path>) -> CheckReport {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
    let mut report = CheckReport {
        file_exists: path.exists(),
        file: path,
        settings: None,
        problems: Vec::new(),
        notices: Vec::new(),
    };
    match Config::load(file) {
        Ok(config) => {
            report.problems.extend(Policy::load(&config.policy_dir).problems.iter().map(ToString::to_string));
            report.notices = notices(&config);
            if let Some(legacy) = &config.legacy {
                report.notices.extend(legacy.warnings());
                report.notices.extend(unit_forbids_networks());
                match read_key(legacy) {
                    Ok(key) => report.notices.extend(key.iter().flat_map(|key| key_warnings(legacy, key))),
                    Err(problem) => report.problems.push(problem),
                }
            }
            report.settings = Some(Settings::of(&config));
        }
        Err(error) => report.problems.push(error.to_string()),
    }
    report
}

/// What is not there yet, as far as a look at the file system tells.
fn notices(config: &Config) -> Vec<String> {
    let policy = &config.policy_dir;
    let socket = config.control_socket();
    let not_there = [
        (!policy.is_dir()).then(|| {
            format!(
                "{} is not there: only domains of the same cluster label may act on each other",
                policy.display()
            )
        }),
        UnixStream::connect(&socket).err().map(|error| agent_is_away(&socket, &error)),
        libvirt_is_away(&config.libvirt_uri),
        install::status(&Setup::system(&config.runtime_dir)).ok().and_then(|hook| hook.next),
    ];
    not_there.into_iter().flatten().collect()
}

fn unit_forbids_networks() -> Option<String> {
    let [from, to] = NETWORK_DROP_IN;
    let is_there = Path::new(to).exists();
    (!is_there).then(|| {
        format!(
            "legacy: fence-vmchanneld.service allows no network, and its listeners cannot open: \
             `install -D -m 0644 {from} {to} && systemctl daemon-reload`, then restart the agent"
        )
    })
}

fn agent_is_away(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        return format!("{socket} belongs to root: run this as root to see whether the agent runs");
    }
    format!("the agent is not running (nobody listens on {socket}): `systemctl start fence-vmchanneld`")
}

fn libvirt_is_away(uri: &str) -> Option<String> {
    let told = uri.split_once("socket=").map(|(_, rest)| rest.split('&').next().unwrap_or(rest));
    let sockets = match told {
        Some(socket) => vec![socket],
        None if uri == "qemu:///system" => LIBVIRT_SOCKETS.to_vec(),
        None => return None,
    };
    let there = sockets.iter().any(|socket| Path::new(socket).exists());
    (!there).then(|| format!("libvirt's socket is not there ({}): is libvirtd running?", sockets.join(", ")))
}

impl Settings {
    fn of(config: &Config) -> Self {
        Self {
            libvirt_uri: config.libvirt_uri.clone(),
            libvirt_run_dir: config.libvirt_run_dir.clone(),
            runtime_dir: config.runtime_dir.clone(),
            policy_dir: config.policy_dir.clone(),
            kill_after_seconds: config.kill_after.as_secs(),
            give_up_after_seconds: config.give_up_after.as_secs(),
            reconcile_seconds: config.reconcile_every.as_secs(),
            host_status: config.host_status.clone(),
            legacy: config.legacy.clone(),
        }
    }

    /// As lines of a settings file.
    fn lines(&self) -> Vec<String> {
        let text = |key: &str, value: &str| format!("{key} = {value:?}");
        let path = |key: &str, value: &Path| text(key, &value.display().to_string());
        let run_dir = match &self.libvirt_run_dir {
            Some(dir) => path("libvirt-run-dir", dir),
            None => "# libvirt-run-dir: follows from libvirt-uri".to_owned(),
        };
        let mut lines = vec![
            text("libvirt-uri", &self.libvirt_uri),
            run_dir,
            path("runtime-dir", &self.runtime_dir),
            path("policy-dir", &self.policy_dir),
            format!("kill-after-seconds = {}", self.kill_after_seconds),
            format!("give-up-after-seconds = {}", self.give_up_after_seconds),
            format!("reconcile-seconds = {}", self.reconcile_seconds),
        ];
        lines.extend(self.host_status.lines());
        if let Some(legacy) = &self.legacy {
            let written = toml::to_string(&Part { legacy }).unwrap_or_default();
            lines.extend(written.lines().map(ToOwned::to_owned));
        }
        lines
    }
}

impl Report for CheckReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let origin = if self.file_exists { "" } else { " (not there: the defaults hold)" };
        if let Some(settings) = &self.settings {
            writeln!(out, "# {}{origin}", self.file.display())?;
            settings.lines().iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        // A problem may have several lines: it shows the place in the file.
        let lines = |text: &str| text.lines().map(plain).collect::<Vec<_>>().join("\n  ");
        self.problems.iter().try_for_each(|problem| writeln!(out, "problem: {}", lines(problem)))?;
        self.notices.iter().try_for_each(|notice| writeln!(out, "notice: {}", lines(notice)))?;
        match self.problems.len() {
            0 => writeln!(out, "no problems"),
            1 => writeln!(out, "1 problem"),
            many => writeln!(out, "{many} problems"),
        }
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.problems.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(settings: &str, policy: Option<&str>) -> (u8, String) {
        let directory = tempfile::tempdir().unwrap();
        let policies = directory.path().join("policy.d");
        std::fs::create_dir(&policies).unwrap();
        if let Some(text) = policy {
            std::fs::write(policies.join("10-web.toml"), text).unwrap();
        }
        let file = directory.path().join("agent.toml");
        std::fs::write(&file, format!("policy-dir = '{}'\n{settings}", policies.display())).unwrap();
        let (report, mut out) = (check(Some(&file)), Vec::new());
        report.write(&mut out).unwrap();
        (report.exit_code(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn good_settings_are_printed_as_they_hold_and_can_be_read_again() {
        let (code, text) = checked("kill-after-seconds = 7\n", None);

        assert_eq!(code, 0, "{text}");
        assert!(text.contains("kill-after-seconds = 7\ngive-up-after-seconds = 45\n"), "{text}");
        assert!(text.ends_with("no problems\n"), "{text}");
    }

    #[test]
    fn a_legacy_listener_is_a_notice_and_its_key_that_others_may_read_a_problem() {
        use std::os::unix::fs::PermissionsExt;
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), [7; 64]).unwrap();
        let settings = format!(
            "[legacy]\nkey-file = '{}'\n[[legacy.listener]]\nkind = 'tcp'\n[[legacy.peer]]\ncid = 3\nguest = 'a'\n",
            key.path().display()
        );

        let good = checked(&settings, None);
        std::fs::set_permissions(key.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let open = checked(&settings, None);

        assert_eq!(good.0, 0, "{}", good.1);
        assert!(good.1.contains("notice: legacy: tcp 127.0.0.1:1229"), "{}", good.1);
        assert!(good.1.contains("fence-vmchanneld.service.d/legacy-network.conf"), "{}", good.1);
        assert!(good.1.contains("\n[[legacy.peer]]\ncid = 3\n"), "{}", good.1);
        assert_eq!(open.0, 1, "{}", open.1);
        assert!(open.1.contains("chmod 0600"), "{}", open.1);
    }

    #[test]
    fn a_shared_key_of_a_bad_length_is_a_notice() {
        let key = tempfile::NamedTempFile::new().unwrap();
        let told = |length: usize, auth: &str| {
            std::fs::write(key.path(), vec![7; length]).unwrap();
            let file = key.path().display();
            checked(
                &format!(
                    "[legacy]\nkey-file = '{file}'\nauth = '{auth}'\n[[legacy.listener]]\nkind = 'tcp'\n"
                ),
                None,
            )
            .1
        };

        for (length, auth, is_bad) in [
            (31, "sha256", true),
            (32, "sha256", true),
            (100, "sha256", true),
            (100, "sha512", false),
            (32, "sha512", true),
            (512, "sha256", false),
            (4096, "sha512", false),
        ] {
            let text = told(length, auth);
            assert_eq!(text.contains("can be forged"), is_bad, "{length} {auth}: {text}");
        }
        assert!(told(31, "sha256").contains("can be guessed"));
    }

    #[test]
    fn a_wrong_key_is_told_with_its_line_and_the_keys_there_are() {
        let (code, text) = checked("libvirt-url = 'x'\n", None);

        assert_eq!(code, 1);
        assert!(text.contains("agent.toml: ") && text.contains("line 2"), "{text}");
        assert!(text.contains("expected one of"), "{text}");
    }

    #[test]
    fn a_broken_policy_file_is_told_by_name() {
        let (code, text) = checked("", Some("[[allow]]\nfrom = 3\n"));

        assert_eq!(code, 1);
        assert!(text.contains("10-web.toml"), "{text}");
    }
}
