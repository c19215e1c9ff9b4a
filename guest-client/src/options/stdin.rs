//! Options on standard input: `key=value` lines, as cluster software gives them to fence agents.
//!
//! In:  the bytes of standard input. Out: [`Written`]. See ClusterLabs' FenceAgentAPI.md.
//!
//! Invariant: an unknown key is told and passed over, never an error: cluster software sends what it likes.

use std::io::Read;

use super::OptionsError;
use super::written::Written;

/// Far more than any cluster software sends.
const INPUT_BYTES: u64 = 64 * 1024;

/// Sent by cluster software to every agent, or known to most of the family, and of no meaning here.
const OF_NO_MEANING: [&str; 12] = [
    "agent",
    "crm_feature_set",
    "disable_timeout",
    "login_timeout",
    "name",
    "nodeid",
    "power_wait",
    "quiet",
    "retry_on",
    "self",
    "shell_timeout",
    "stonith_status_sleep",
];
/// The cluster manager's own settings of a device.
const OF_THE_MANAGER: [&str; 3] = ["pcmk_", "CRM_meta_", "meta-"];

pub(super) fn read(input: impl Read) -> Result<Written, OptionsError> {
    let mut bytes = Vec::new();
    let taken = input.take(INPUT_BYTES + 1).read_to_end(&mut bytes).map_err(OptionsError::Input)?;
    if taken as u64 > INPUT_BYTES {
        return Err(OptionsError::InputLong);
    }
    let text = String::from_utf8(bytes).map_err(|_| OptionsError::InputText)?;
    let mut written = Written::default();
    for line in text.lines() {
        let line = trim(line);
        if !line.is_empty() && !line.starts_with('#') {
            take_line(&mut written, line);
        }
    }
    Ok(written)
}

fn take_line(written: &mut Written, line: &str) {
    let Some((key, value)) = line.split_once('=') else {
        return written
            .warnings
            .push(format!("standard input: {line:?} is not of the form key=value; ignored"));
    };
    let value = unquote(trim(value)).to_owned();
    let key = trim(key);
    // To the fencing library of the fence-agents project, `-` is `_`.
    match key.replace('-', "_").as_str() {
        "action" => written.action = Some(value),
        "option" => written.legacy_action = Some(value),
        "plug" | "port" | "domain" => written.plugs.push(value),
        "nodename" => written.nodenames.push(value),
        "uuid" | "use_uuid" => written.uuid = Some(value),
        "method" => written.method = Some(value),
        "timeout" => written.timeout = Some(value),
        "power_timeout" => written.power_timeout = Some(value),
        "delay" => written.delay = Some(value),
        "verbose" | "debug" => written.verbose = Some(value),
        same => take_way(written, same, key, value),
    }
}

/// The options about the way to the host, and what nobody knows, which is told `as_written`.
fn take_way(written: &mut Written, key: &str, as_written: &str, value: String) {
    let way = &mut written.transport;
    match key {
        "device" | "serial_device" => way.device = Some(value.into()),
        "serial_params" => way.serial_params = Some(value),
        "channel_address" => way.channel_address = Some(value),
        "ipport" => way.ipport = Some(value),
        "ipaddr" | "ip" => way.ipaddr = Some(value),
        "vsock" => way.vsock = Some(value),
        "multicast_address" => way.multicast_address = Some(value),
        "ip_family" => way.ip_family = Some(value),
        "retrans" => way.retrans = Some(value),
        "auth" => way.auth = Some(value),
        "hash" => way.hash = Some(value),
        "key_file" => way.key_file = Some(value.into()),
        "key_id" => way.key_id = Some(value),
        _ if OF_NO_MEANING.contains(&key) => {}
        _ if OF_THE_MANAGER.iter().any(|prefix| as_written.starts_with(prefix)) => {}
        _ => written.warnings.push(format!("standard input: unknown key {as_written:?}; ignored")),
    }
}

/// Without spaces around; control characters stay and are refused where they matter.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r'])
}

/// Without one pair of quotes around, as the fencing library of the fence-agents project reads values.
fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lines: &str) -> Written {
        read(lines.as_bytes()).unwrap()
    }

    #[test]
    fn one_pair_of_quotes_around_a_value_is_no_part_of_it() {
        for (value, is) in [
            (r#""web2""#, "web2"),
            (r#" "web 2" "#, "web 2"),
            (r#"""web2"""#, r#""web2""#),
            (r#""web2"#, r#""web2"#),
            (r#"web"2""#, r#"web"2""#),
            (r#"""#, r#"""#),
            (r#""""#, ""),
        ] {
            assert_eq!(written(&format!("plug={value}\n")).plugs, [is], "{value}");
        }
    }

    #[test]
    fn a_key_may_have_dashes_for_its_underscores() {
        let taken =
            written("power-timeout=20\nkey-file=/k\nserial-device=/dev/ttyS1\nuse-uuid=1\nlogin-timeout=5\n");

        assert_eq!(taken.warnings, [""; 0]);
        assert_eq!(taken.power_timeout.as_deref(), Some("20"));
        assert_eq!(taken.transport.key_file.as_deref(), Some("/k".as_ref()));
        assert_eq!(taken.transport.device.as_deref(), Some("/dev/ttyS1".as_ref()));
        assert_eq!(taken.uuid.as_deref(), Some("1"));
    }

    #[test]
    fn the_manager_s_own_keys_are_known_as_they_are_written_and_an_unknown_one_is_told_so() {
        let known = written("pcmk_host_list=a\nCRM_meta_timeout=1\nmeta-data=x\n");
        let unknown = written("pcmk-host-list=a\nmeta_data=x\nmy-key=1\n");

        assert_eq!(known.warnings, [""; 0]);
        let told = ["pcmk-host-list", "meta_data", "my-key"];
        assert_eq!(unknown.warnings, told.map(|key| format!("standard input: unknown key {key:?}; ignored")));
    }
}
