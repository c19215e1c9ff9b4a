//! The host itself: name, load, uptime, processors, maintenance.
//!
//! In:  `/proc` and the maintenance flag, which lie in memory. Out: [`Host`].
//!
//! Invariant: what cannot be read is not known.

use std::fs;
use std::time::Duration;

use fence_vmchannel_protocol::PlainText;

use super::maintenance::Maintenance;

/// The host as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Host {
    pub(super) name: Option<PlainText>,
    pub(super) maintenance: Option<bool>,
    pub(super) load_percent: Option<[u32; 3]>,
    pub(super) processors: Option<u32>,
    pub(super) uptime: Option<Duration>,
}

impl Host {
    /// The host now.
    pub(super) fn look(maintenance: &Maintenance) -> Self {
        let proc = |name: &str| fs::read_to_string(format!("/proc/{name}")).ok();
        Self {
            name: proc("sys/kernel/hostname").and_then(|name| name.trim().parse().ok()),
            maintenance: maintenance.is_on().ok(),
            load_percent: proc("loadavg").as_deref().and_then(load),
            processors: fs::read_to_string("/sys/devices/system/cpu/online").ok().as_deref().and_then(count),
            uptime: proc("uptime").as_deref().and_then(uptime),
        }
    }
}

/// `0.42 0.31 0.20 1/214 4711`.
fn load(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text.split_whitespace().map(hundredths);
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// `0.42`.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').filter(|(_, decimals)| decimals.len() == 2)?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(decimals.parse().ok()?)
}

/// `93784.12 345678.90`.
fn uptime(text: &str) -> Option<Duration> {
    text.split('.').next()?.parse().ok().map(Duration::from_secs)
}

/// `0-3,6`.
fn count(text: &str) -> Option<u32> {
    let parts = text.trim().split(',').map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
    });
    parts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_the_host_is_read() {
        assert_eq!(load("0.42 12.05 3.00 1/214 4711\n"), Some([42, 1205, 300]));
        assert_eq!(uptime("93784.12 345678.90\n"), Some(Duration::from_secs(93784)));
        assert_eq!((count("0-3,6\n"), count("0\n")), (Some(5), Some(1)));
    }

    #[test]
    fn what_the_kernel_does_not_say_like_that_is_not_known() {
        assert_eq!(
            (load("0.4 1.0 2.0"), load("0.42 0.31"), uptime("x"), count("a-b")),
            (None, None, None, None)
        );
    }
}
