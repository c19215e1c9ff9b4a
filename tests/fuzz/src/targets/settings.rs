//! The agent's settings.
//!
//! Properties: what is taken is what is written, key by key, else the default; nothing unknown, out of range or of another
//! type is taken; sockets' paths fit; the agent's own words for its settings are taken back as the same.

use std::path::Path;
use std::time::Duration;

use fence_vmchannel_host_agent::config::Config;
use toml::{Table, Value};

const KEYS: [&str; 7] = [
    "libvirt-uri",
    "libvirt-run-dir",
    "runtime-dir",
    "policy-dir",
    "kill-after-seconds",
    "give-up-after-seconds",
    "reconcile-seconds",
];

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let config = match Config::parse(text, Path::new("agent.toml")) {
        Ok(config) => config,
        Err(error) => {
            assert!(error.to_string().starts_with("agent.toml: "), "{error}");
            return;
        }
    };

    let table = text.parse::<Table>().unwrap_or_default();
    assert!(table.keys().all(|key| KEYS.contains(&key.as_str())), "{table:?}");
    let words = |key: &str, default: &str| {
        table.get(key).map_or(Some(default.to_owned()), |value| value.as_str().map(ToOwned::to_owned))
    };
    let seconds = |key: &str, default: i64| {
        let told = table.get(key).map_or(Some(default), Value::as_integer);
        told.and_then(|told| u64::try_from(told).ok()).map(Duration::from_secs)
    };
    let path = |path: &Path| path.to_str().map(ToOwned::to_owned);
    assert_eq!(Some(config.libvirt_uri.clone()), words("libvirt-uri", "qemu:///system"));
    let run_dir = table.get("libvirt-run-dir").and_then(Value::as_str);
    assert_eq!(config.libvirt_run_dir.as_deref(), run_dir.map(Path::new));
    assert!(config.libvirt_run_dir.as_ref().is_none_or(|dir| dir.is_absolute()));
    assert_eq!(path(&config.runtime_dir), words("runtime-dir", "/run/fence-vmchannel"));
    assert_eq!(path(&config.policy_dir), words("policy-dir", "/etc/fence-vmchannel/policy.d"));
    assert_eq!(Some(config.kill_after), seconds("kill-after-seconds", 5));
    assert_eq!(Some(config.give_up_after), seconds("give-up-after-seconds", 45));
    assert_eq!(Some(config.reconcile_every), seconds("reconcile-seconds", 30));

    assert!(config.kill_after >= Duration::from_secs(1) && config.kill_after < config.give_up_after);
    assert!(config.give_up_after <= Duration::from_secs(600));
    assert!((1..=3600).contains(&config.reconcile_every.as_secs()));
    assert!(config.runtime_dir.is_absolute() && config.policy_dir.is_absolute());
    let socket = config.guests_dir().join("3f0c2a52-0d5e-4c9b-9a6e-1f2d3c4b5a69.sock");
    assert!(socket.as_os_str().len() <= 107 && !socket.as_os_str().is_empty());
}
