//! The settings of a network listener: multicast, TCP or vsock.
//!
//! In:  keys and texts, from `fence_virt.conf`, options of fence_xvmd or `cluster.conf`. Out: remarks.
//!
//! Invariant: a key file is looked at and never changed; fence_virtd itself would change its mode.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::before::{Before, Listener};
use super::finding::{Kind, Remarks};

/// What fence_virtd and fence_xvmd take where no key file is named.
pub(super) const DEFAULT_KEY_FILE: &str = "/etc/cluster/fence_xvm.key";

/// The settings as written: key, text and line.
pub(super) type Written<'a> = (&'a str, &'a str, usize);

/// Tells what each setting was, and what was unsafe about the whole.
pub(super) fn judge(settings: &[Written<'_>], line: usize, before: &mut Before, remarks: &mut Remarks) {
    let listener = before.listener;
    before.network =
        settings.iter().map(|(key, text, _)| (key.to_ascii_lowercase(), (*text).to_owned())).collect();
    let find = |key: &str| settings.iter().rev().find(|(k, _, _)| k.eq_ignore_ascii_case(key));
    let (hash, auth) = (find("hash"), find("auth"));
    let is_none =
        |setting: Option<&Written<'_>>| setting.is_some_and(|(_, text, _)| text.eq_ignore_ascii_case("none"));
    for setting @ (key, _, at) in settings {
        let is_last = find(key).is_some_and(|last| std::ptr::eq(last, setting));
        match is_last {
            true => one(listener, *setting, remarks),
            false => remarks.say(
                *at,
                Kind::NotNeeded,
                format!("`{key}` is given again below, and the last one counts"),
            ),
        }
    }
    if is_none(hash) && is_none(auth) {
        remarks.say(
            line,
            Kind::Unsafe,
            "neither hash nor auth: whoever could reach the port could fence, without any key",
        );
    } else if find("key_file").is_none() {
        key_file(DEFAULT_KEY_FILE, line, remarks);
    }
    if listener == Listener::Multicast && find("interface").is_none() {
        remarks.say(line, Kind::Unsafe, "no interface is named: it listened on every network of the host");
    }
    let text = "guests ask over channels of their own: no address, no port, no key";
    remarks.say(line, Kind::NotNeeded, text);
}

fn one(listener: Listener, (key, text, line): Written<'_>, remarks: &mut Remarks) {
    match key.to_ascii_lowercase().as_str() {
        "key_file" => key_file(text, line, remarks),
        "hash" => strength("requests were signed", text, line, remarks),
        "auth" => strength("clients were challenged", text, line, remarks),
        "address" if listener == Listener::Tcp && ["0.0.0.0", "::", "*"].contains(&text) => {
            remarks.say(line, Kind::Unsafe, "it listened on every address of the host");
        }
        "address" | "interface" | "family" | "port" if listener != Listener::Vsock || key == "port" => {
            remarks.say(line, Kind::NotNeeded, format!("{key} {text}: a channel has none"));
        }
        _ => remarks.say(line, Kind::NotConverted, format!("`{key}` means nothing to this listener")),
    }
}

fn strength(what: &str, text: &str, line: usize, remarks: &mut Remarks) {
    match text.to_ascii_lowercase().as_str() {
        "none" => remarks.say(line, Kind::Unsafe, format!("{what} with nothing at all")),
        "sha1" => remarks.say(line, Kind::Unsafe, format!("{what} with SHA-1, which is weak")),
        "sha256" | "sha512" => {
            remarks.say(
                line,
                Kind::NotNeeded,
                format!("{what} with {text}: a channel is known by its socket"),
            );
        }
        _ => remarks.say(
            line,
            Kind::NotConverted,
            format!("{text:?} is no hash: none, sha1, sha256 or sha512"),
        ),
    }
}

fn key_file(name: &str, line: usize, remarks: &mut Remarks) {
    let text = match std::fs::metadata(Path::new(name)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!(
                "the key file {name} is not there: older versions then ran without any authentication"
            );
            return remarks.say(line, Kind::Unsafe, text);
        }
        Err(error) => {
            return remarks.say(
                line,
                Kind::NotConverted,
                format!("the key file {name} cannot be looked at: {error}"),
            );
        }
        Ok(file) if file.mode() & 0o077 != 0 => {
            format!(
                "the key file {name} can be read by others than its owner (mode {:04o})",
                file.mode() & 0o7777
            )
        }
        Ok(file) if file.len() < 16 => format!("the key file {name} has {} bytes only", file.len()),
        Ok(_) => {
            let text = format!(
                "the key file {name}: every guest had it, and could ask in another's name; a channel needs none"
            );
            return remarks.say(line, Kind::NotNeeded, text);
        }
    };
    remarks.say(line, Kind::Unsafe, text);
}
