//! `fence_virt.conf`: what fence_virtd did with it.
//!
//! In:  the file's text. Out: [`Before`], and a remark for each line that says something.

use super::before::{Before, Listener};
use super::finding::{Kind, Remarks};
use super::grammar::{Mistake, Section, parse};
use super::groups;
use super::network;

/// Reads the file.
pub(super) fn read(text: &str, before: &mut Before, remarks: &mut Remarks) -> Result<(), Mistake> {
    let root = parse(text)?;
    let global = root.section("fence_virtd");
    let listener = the_listener(global, before, remarks);
    let backend = the_backend(global, remarks);
    for key in ["fence_virtd", "listeners", "backends"] {
        shadowed(&root, key, remarks);
    }
    listeners(root.section("listeners"), listener.as_deref(), before, remarks);
    backends(root.section("backends"), backend.as_deref(), before, remarks);
    groups::read(&root, before, remarks);
    for section in &root.sections {
        if !["fence_virtd", "listeners", "backends", "groups"]
            .iter()
            .any(|n| section.name.eq_ignore_ascii_case(n))
        {
            remarks.say(
                section.line,
                Kind::NotConverted,
                format!("fence_virtd has no section `{}`", section.name),
            );
        }
    }
    for value in &root.values {
        remarks.say(
            value.line,
            Kind::NotConverted,
            format!("`{}` means nothing outside of a section", value.key),
        );
    }
    Ok(())
}

fn shadowed(parent: &Section, name: &str, remarks: &mut Remarks) {
    let sections: Vec<_> = parent.all(name).collect();
    for section in sections.iter().rev().skip(1) {
        let text =
            format!("fence_virtd overlooks this section: of several `{name}` only the last one counts");
        remarks.say(section.line, Kind::NotConverted, text);
    }
}

fn the_listener(global: Option<&Section>, before: &mut Before, remarks: &mut Remarks) -> Option<String> {
    let value = global.and_then(|section| section.value("listener"));
    before.listener = match value.map(|value| value.text.to_ascii_lowercase()).as_deref() {
        Some("multicast") => Listener::Multicast,
        Some("tcp") => Listener::Tcp,
        Some("vsock") => Listener::Vsock,
        Some("serial") => Listener::Serial,
        Some(_) | None => Listener::Unknown,
    };
    match value {
        Some(value) if before.listener != Listener::Unknown => {
            let text =
                format!("listener {}: guests ask over channels instead, see the commands below", value.text);
            remarks.say(value.line, Kind::Converted, text);
        }
        Some(value) => {
            let text =
                format!("fence_virtd has no listener {:?}: multicast, tcp, vsock or serial", value.text);
            remarks.say(value.line, Kind::NotConverted, text);
        }
        None => {
            remarks.say(0, Kind::NotConverted, "no listener is named: fence_virtd does not start with it")
        }
    }
    for value in global.iter().flat_map(|section| &section.values) {
        let text = match value.key.to_ascii_lowercase().as_str() {
            "listener" | "backend" => continue,
            "debug" => "FENCE_VMCHANNEL_LOG=debug in the agent's environment says more",
            "foreground" => "`fence-vmchanneld run` always stays in the foreground",
            "wait_for_init" | "wait_for_backend" => "the agent always waits for libvirt",
            "module_path" => "the agent has no modules",
            _ => {
                remarks.say(
                    value.line,
                    Kind::NotConverted,
                    format!("fence_virtd has no setting `{}`", value.key),
                );
                continue;
            }
        };
        remarks.say(value.line, Kind::NotNeeded, text);
    }
    value.map(|value| value.text.clone())
}

fn the_backend(global: Option<&Section>, remarks: &mut Remarks) -> Option<String> {
    let Some(value) = global.and_then(|section| section.value("backend")) else {
        remarks.say(0, Kind::NotConverted, "no backend is named: fence_virtd does not start with it");
        return None;
    };
    let (kind, text) = match value.text.to_ascii_lowercase().as_str() {
        "libvirt" => {
            (Kind::Converted, "backend libvirt: the agent stops the machines of its own host".to_owned())
        }
        "cpg" | "checkpoint" => (
            Kind::Unsafe,
            format!(
                "backend {}: it says success for machines that no member knows. Convert on every host: each agent \
                 stops the machines of its own host, and a request for a machine of another host is refused",
                value.text
            ),
        ),
        "libvirt-qmf" | "libvirt-qpid" | "pm-fence" | "null" => {
            (Kind::NotConverted, format!("backend {}: only libvirt on this host", value.text))
        }
        _ => {
            (Kind::NotConverted, format!("backend {:?} is not known: only libvirt on this host", value.text))
        }
    };
    remarks.say(value.line, kind, text);
    Some(value.text.clone())
}

fn listeners(section: Option<&Section>, used: Option<&str>, before: &mut Before, remarks: &mut Remarks) {
    let Some(section) = section else {
        if before.listener.knows_addresses() {
            network::judge(&[], 0, before, remarks);
        }
        return;
    };
    let counts = used.and_then(|name| section.section(name));
    for each in &section.sections {
        if !counts.is_some_and(|counts| std::ptr::eq(counts, each)) {
            let text = format!("`{}` is not the listener that fence_virtd uses", each.name);
            remarks.say(each.line, Kind::NotNeeded, text);
        }
    }
    match (before.listener, counts) {
        (Listener::Serial, counts) => serial(counts, before, remarks),
        (Listener::Unknown, _) => {}
        (_, Some(counts)) => {
            let settings: Vec<_> =
                counts.values.iter().map(|v| (v.key.as_str(), v.text.as_str(), v.line)).collect();
            network::judge(&settings, counts.line, before, remarks);
        }
        (_, None) => network::judge(&[], section.line, before, remarks),
    }
}

fn serial(section: Option<&Section>, before: &mut Before, remarks: &mut Remarks) {
    let mode = section.and_then(|section| section.value("mode"));
    let is_channel = mode.is_some_and(|mode| mode.text.eq_ignore_ascii_case("vmchannel") || mode.text == "1");
    for value in section.iter().flat_map(|section| &section.values) {
        match value.key.to_ascii_lowercase().as_str() {
            "uri" => uri(&value.text, value.line, before, remarks),
            "path" => remarks.say(
                value.line,
                Kind::NotNeeded,
                format!("sockets in {}: the agent has its own, which `channel add` writes into the machines", value.text),
            ),
            "mode" => remarks.say(
                value.line,
                Kind::Converted,
                match is_channel {
                    true => "vmchannel: `channel add` gives each machine a virtio port",
                    false => "serial: `channel add` gives each machine a virtio port beside its serial port; --serial for a guest without virtio",
                },
            ),
            _ => remarks.say(value.line, Kind::NotConverted, format!("`{}` means nothing to this listener", value.key)),
        }
    }
    if section.and_then(|section| section.value("path")).is_none() {
        let what = if is_channel {
            "channel of every machine, the guest agent's included"
        } else {
            "serial port of every machine"
        };
        let line = section.map_or(0, |section| section.line);
        remarks.say(line, Kind::Unsafe, format!("no path is given: fence_virtd connects to every {what}"));
    }
}

fn backends(section: Option<&Section>, used: Option<&str>, before: &mut Before, remarks: &mut Remarks) {
    let Some(section) = section else { return };
    for each in &section.sections {
        if !used.is_some_and(|used| each.name.eq_ignore_ascii_case(used)) {
            remarks.say(
                each.line,
                Kind::NotNeeded,
                format!("`{}` is not the backend that fence_virtd uses", each.name),
            );
            continue;
        }
        for value in &each.values {
            match value.key.to_ascii_lowercase().as_str() {
                "uri" => uri(&value.text, value.line, before, remarks),
                "name_mode" => {
                    remarks.say(value.line, Kind::NotNeeded, "machines may be named by name and by UUID")
                }
                _ => remarks.say(
                    value.line,
                    Kind::NotConverted,
                    format!("`{}` means nothing to the agent", value.key),
                ),
            }
        }
    }
}

/// The agent acts on the host that it runs on.
pub(super) fn uri(text: &str, line: usize, before: &mut Before, remarks: &mut Remarks) {
    let is_here =
        text.split_once("://").is_some_and(|(scheme, rest)| !scheme.contains('+') && rest.starts_with('/'));
    if !is_here {
        let text = format!("{text} is the libvirt of another host: run the agent there");
        return remarks.say(line, Kind::NotConverted, text);
    }
    if !text.starts_with("qemu://") && !text.starts_with("test://") {
        let text = format!("{text}: the agent is for QEMU and KVM only");
        return remarks.say(line, Kind::NotConverted, text);
    }
    match &before.uri {
        Some(known) if known != text => {
            remarks.say(
                line,
                Kind::NotConverted,
                format!("{text}: the agent has one libvirt, and takes {known}"),
            );
        }
        Some(_) | None => {
            before.uri = Some(text.to_owned());
            remarks.say(line, Kind::Converted, format!("libvirt-uri = {text:?}"));
        }
    }
}
