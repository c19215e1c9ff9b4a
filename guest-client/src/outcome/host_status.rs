//! The host's status for people, one thing a line.
//!
//! In:  a [`HostStatus`]. Out: a [`Finding`] with lines `KEY: VALUE` and `attribute NAME: VALUE`.
//!
//! Invariant: an attribute without a value is `attribute NAME unknown`, which no value can look like: shell scripts read
//! these lines.

use fence_vmchannel_protocol::{Attribute, HostStatus};

use super::Finding;
use super::judge::SIMULATED;

pub(super) fn found(status: HostStatus) -> Finding {
    let simulated = status.simulated.then(|| SIMULATED.to_owned());
    let mut finding = Finding::success(lines(&status)).and(simulated);
    finding.host_status = Some(status);
    finding
}

fn lines(status: &HostStatus) -> Vec<String> {
    let optional = [
        status.host.as_ref().map(|host| format!("host: {host}")),
        status.maintenance.map(|on| format!("maintenance: {}", if on { "on" } else { "off" })),
        status.load_percent.map(|[one, five, fifteen]| {
            format!("load: {} {} {}", decimal(one), decimal(five), decimal(fifteen))
        }),
        status.processors.map(|count| format!("processors: {count}")),
        status.uptime_s.map(|seconds| format!("uptime: {}", time(seconds))),
    ];
    let first = [format!("agent: {}", status.agent), format!("libvirt: {}", status.libvirt)];
    let lines = first.into_iter().chain(optional.into_iter().flatten());
    lines.chain(status.attributes.iter().map(attribute)).collect()
}

fn attribute(attribute: &Attribute) -> String {
    let name = &attribute.name;
    match (&attribute.value, attribute.age_s) {
        (Some(value), _) => format!("attribute {name}: {value}"),
        (None, Some(age)) => format!("attribute {name} unknown (looked at {} ago)", time(age)),
        (None, None) => format!("attribute {name} unknown"),
    }
}

fn decimal(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
