//! The agent's settings.
//!
//! In:  `/etc/fence-vmchannel/agent.toml`, which may be missing. Out: [`Config`], all of it valid.
//!
//! Invariant: an unknown key or a value out of range is an error with file, line and what was expected; nothing is
//! guessed.

mod legacy;
mod network;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host_status::{Settings, SettingsTable};
use legacy::LegacyPart;
pub use legacy::{Legacy, Listener, PeerRule, Whence, Whom};
pub use network::Network;

/// Where the settings are looked for when nothing else is said.
pub const DEFAULT_FILE: &str = "/etc/fence-vmchannel/agent.toml";

/// Why the settings were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there but cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key or value that is none of ours.
    #[error("{path}: {text}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        text: String,
    },
}

/// The file as it was written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct ConfigFile {
    libvirt_uri: Option<String>,
    libvirt_run_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    policy_dir: Option<PathBuf>,
    kill_after_seconds: Option<u64>,
    give_up_after_seconds: Option<u64>,
    reconcile_seconds: Option<u64>,
    host_status: SettingsTable,
    legacy: Option<LegacyPart>,
}

/// The settings that hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Which libvirt: `qemu:///system`, `qemu:///session`, with `?socket=` where needed.
    pub libvirt_uri: String,
    /// Where libvirt keeps its pid files; derived from the URI when not set.
    pub libvirt_run_dir: Option<PathBuf>,
    /// Where sockets and the spool live.
    pub runtime_dir: PathBuf,
    /// Where the policy's files are.
    pub policy_dir: PathBuf,
    /// How long libvirt may take to stop a target before it is killed by pidfd (the grace).
    pub kill_after: Duration,
    /// How long an order may run at most before it fails.
    pub give_up_after: Duration,
    /// How often everything is looked at again.
    pub reconcile_every: Duration,
    /// What guests may know of the host.
    pub host_status: Settings,
    /// Listeners for existing clients on a network.
    pub legacy: Option<Legacy>,
}

impl Config {
    /// The settings in this file. A missing file means the defaults, unless somebody named it.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let file = path.unwrap_or(Path::new(DEFAULT_FILE));
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Self::check(ConfigFile::default(), file)
            }
            Err(source) => Err(ConfigError::Unreadable { path: file.to_owned(), source }),
        }
    }

    /// The settings in the text of a file. `path` is for the error's text only.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let malformed = |e: toml::de::Error| ConfigError::Malformed {
            path: path.to_owned(),
            text: e.to_string().trim_end().to_owned(),
        };
        Self::check(toml::from_str(text).map_err(malformed)?, path)
    }

    fn check(file: ConfigFile, path: &Path) -> Result<Self, ConfigError> {
        let seconds = |key: &str, told: Option<u64>, default: u64, least: u64, most: u64| match told {
            None => Ok(Duration::from_secs(default)),
            Some(value) if (least..=most).contains(&value) => Ok(Duration::from_secs(value)),
            Some(value) => Err(format!("{key} = {value}: expected {least} to {most}")),
        };
        let absolute = |key: &str, told: Option<PathBuf>, default: &str| match told {
            None => Ok(PathBuf::from(default)),
            Some(dir) if dir.is_absolute() => Ok(dir),
            Some(dir) => Err(format!("{key} = {:?}: expected an absolute path", dir.display())),
        };
        let check = || -> Result<Self, String> {
            let run_dir = file.libvirt_run_dir.map(|dir| absolute("libvirt-run-dir", Some(dir), ""));
            let config = Self {
                libvirt_uri: file.libvirt_uri.unwrap_or_else(|| "qemu:///system".into()),
                libvirt_run_dir: run_dir.transpose()?,
                runtime_dir: absolute("runtime-dir", file.runtime_dir, "/run/fence-vmchannel")?,
                policy_dir: absolute("policy-dir", file.policy_dir, "/etc/fence-vmchannel/policy.d")?,
                kill_after: seconds("kill-after-seconds", file.kill_after_seconds, 5, 1, 60)?,
                give_up_after: seconds("give-up-after-seconds", file.give_up_after_seconds, 45, 6, 600)?,
                reconcile_every: seconds("reconcile-seconds", file.reconcile_seconds, 30, 1, 3600)?,
                host_status: file.host_status.check().map_err(|error| error.to_string())?,
                legacy: file.legacy.map(LegacyPart::check).transpose()?,
            };
            if config.kill_after >= config.give_up_after {
                return Err("kill-after-seconds must be less than give-up-after-seconds".into());
            }
            // A Unix socket's path has at most 107 bytes; UUID.sock and a suffix take 60.
            if config.guests_dir().as_os_str().len() > 46 {
                return Err("runtime-dir is too long: a socket's path has at most 107 bytes".into());
            }
            Ok(config)
        };
        check().map_err(|text| ConfigError::Malformed { path: path.to_owned(), text })
    }

    /// Where the guests' sockets are.
    #[must_use]
    pub fn guests_dir(&self) -> PathBuf {
        self.runtime_dir.join("guests")
    }

    /// Where the hook leaves its notes.
    #[must_use]
    pub fn spool_dir(&self) -> PathBuf {
        self.runtime_dir.join("spool")
    }

    /// Where it is written down what orders do.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.runtime_dir.join("journal")
    }

    /// Where the operator's commands reach the running agent.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.runtime_dir.join("control.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("agent.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_gives_working_defaults() {
        let config = parse("").unwrap();

        assert_eq!(config.libvirt_uri, "qemu:///system");
        assert_eq!(config.guests_dir(), Path::new("/run/fence-vmchannel/guests"));
        assert_eq!(config.kill_after, Duration::from_secs(5));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line_and_the_keys_there_are() {
        let error = parse("reconcile-seconds = 30\nlibvirt-url = 'qemu:///system'\n").unwrap_err();

        assert!(error.starts_with("agent.toml: "), "{error}");
        assert!(error.contains("line 2"), "{error}");
        assert!(error.contains("libvirt-uri"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_names_the_range() {
        assert!(parse("kill-after-seconds = 0").unwrap_err().contains("expected 1 to 60"));
        for key in ["runtime-dir", "policy-dir", "libvirt-run-dir"] {
            let error = parse(&format!("{key} = 'run'")).unwrap_err();
            assert!(error.contains(key) && error.contains("absolute"), "{error}");
        }
        assert!(parse("kill-after-seconds = 50").unwrap_err().contains("less than"));
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        assert!(Config::load(Some(Path::new("/nonexistent/agent.toml"))).is_err());
    }
}
