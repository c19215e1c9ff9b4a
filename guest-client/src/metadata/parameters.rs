//! The parameters that cluster software may set, for each name of the agent.
//!
//! In:  the name. Out: [`Parameter`]s in the order in which people read them.
//!
//! Invariant: names and letters are those of the agent whose place is taken.

use fence_vmchannel_protocol::limits::TIMEOUT_DEFAULT;

use crate::action::Action;
use crate::options::Personality;

pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) mixed: &'static str,
    pub(super) kind: &'static str,
    pub(super) default: Option<String>,
    pub(super) says: &'static str,
    pub(super) attributes: &'static str,
}

const OLD: &str = r#" deprecated="1""#;
const TARGET: &str = "Name or UUID of the virtual machine to fence";
const WAIT: &str = "Wait so many seconds for the host's verdict";
const DELAY: &str = "Let the host wait so many seconds before it accepts an off or a reboot: the node without a delay \
wins a race";

pub(super) fn of(personality: Personality) -> Vec<Parameter> {
    match personality {
        Personality::Vmchannel => own(),
        Personality::Virt => [both(), virt()].into_iter().flatten().collect(),
        Personality::Xvm => [both(), xvm()].into_iter().flatten().collect(),
    }
}

fn parameter(
    name: &'static str,
    mixed: &'static str,
    kind: &'static str,
    default: Option<&str>,
    says: &'static str,
) -> Parameter {
    Parameter { name, mixed, kind, default: default.map(str::to_owned), says, attributes: "" }
}

/// The target by the three names that fence_virt and fence_xvm have for it.
fn target() -> [Parameter; 3] {
    let [plug, port, domain] = ["-n", "-H", ""].map(|mixed| parameter("", mixed, "string", None, TARGET));
    [
        Parameter { name: "plug", attributes: r#" obsoletes="port""#, ..plug },
        Parameter { name: "port", attributes: OLD, ..port },
        Parameter { name: "domain", attributes: OLD, ..domain },
    ]
}

fn own() -> Vec<Parameter> {
    let timeout = TIMEOUT_DEFAULT.as_secs().to_string();
    let device = "Device of the channel to the host, for example /dev/ttyS1; without it the virtio port \
                  org.fence_vmchannel.0 is used";
    let serial_device = parameter("serial_device", "-D, --device=[path]", "string", None, device);
    let power_timeout = parameter("power_timeout", "-t, --timeout=[seconds]", "second", Some(&timeout), WAIT);
    let reboot = Some(Action::DEFAULT.word());
    vec![
        parameter("action", "-o, --action=[action]", "string", reboot, "Fencing action"),
        // Alone: where there is a `port`, Pacemaker puts the node's name into it, beside the `plug` of the device.
        parameter("plug", "-n, --plug=[name]", "string", None, TARGET),
        Parameter {
            attributes: r#" obsoletes="serial_device""#,
            ..parameter("device", "-D, --device=[path]", "string", None, device)
        },
        Parameter { attributes: OLD, ..serial_device },
        parameter(
            "key_file",
            "-k, --key-file=[path]",
            "string",
            None,
            "File with the key that signs the requests, where the host wants them signed",
        ),
        parameter(
            "key_id",
            "--key-id=[name]",
            "string",
            None,
            "Name of that key on the host; without it the name of its file, without what follows the last dot",
        ),
        Parameter {
            attributes: r#" obsoletes="power_timeout""#,
            ..parameter("timeout", "-t, --timeout=[seconds]", "second", Some(&timeout), WAIT)
        },
        Parameter { attributes: OLD, ..power_timeout },
        parameter("delay", "-w, --delay=[seconds]", "second", Some("0"), DELAY),
        parameter(
            "uuid",
            "-U, --uuid",
            "boolean",
            Some("0"),
            "Take the virtual machine's UUID only, not its name",
        ),
        parameter("verbose", "-v, --verbose", "boolean", Some("0"), "Tell each step on standard error"),
    ]
}

/// What fence_virt and fence_xvm have in common.
fn both() -> Vec<Parameter> {
    let hash = Some("sha256");
    let mut all = vec![
        parameter("debug", "-d", "boolean", None, "Tell each step on standard error"),
        parameter("action", "-o", "string", Some(Action::DEFAULT.word()), "Fencing action"),
    ];
    all.extend(target());
    all.extend([
        parameter("timeout", "-t", "string", Some("30"), WAIT),
        parameter("delay", "-w", "string", Some("0"), DELAY),
        parameter(
            "ipport",
            "-p",
            "string",
            Some("1229"),
            "Port of TCP, multicast, vsock or a forwarded address",
        ),
        parameter(
            "auth",
            "-C",
            "string",
            hash,
            "Hash of challenge and response: none, sha1, sha256 or sha512",
        ),
        parameter("hash", "-c", "string", hash, "Hash over the request: none, sha1, sha256 or sha512"),
        parameter("key_file", "-k", "string", Some("/etc/cluster/fence_xvm.key"), "File with the shared key"),
    ]);
    all
}

fn virt() -> Vec<Parameter> {
    let forwarded = "Address that the host forwards into a channel, usually 10.0.2.179";
    vec![
        parameter("serial_device", "-D", "string", Some("/dev/ttyS1"), "Serial port"),
        parameter("serial_params", "-P", "string", Some("115200,8N1"), "How the serial port is set"),
        parameter("channel_address", "-A", "string", None, forwarded),
        parameter("ipaddr", "-T", "string", None, "Address of the host, for TCP"),
        parameter("vsock", "-S", "integer", None, "Context id of the host, for vsock, usually 2"),
    ]
}

fn xvm() -> Vec<Parameter> {
    let group = "Multicast group, 225.0.0.12 or ff05::3:1 when it is not set";
    let again = "Time between two repetitions, in tenths of a second";
    vec![
        parameter(
            "ip_family",
            "-i",
            "string",
            Some("auto"),
            "Family of the multicast group: auto, ipv4 or ipv6",
        ),
        parameter("multicast_address", "-a", "string", None, group),
        parameter("retrans", "-r", "string", Some("20"), again),
        parameter("use_uuid", "-u", "string", Some("0"), "The target is a UUID"),
    ]
}
