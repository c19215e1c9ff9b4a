//! Every bound of the wire, in one place.

use std::time::Duration;

/// Bytes of one line, with its newline.
pub const LINE_BYTES: usize = 4096;
/// Bytes of a domain or target name.
pub const NAME_BYTES: usize = 1024;
/// Bytes of the name of an attribute of the host.
pub const ATTRIBUTE_NAME_BYTES: usize = 32;
/// Bytes of an attribute's value, and of a host's name.
pub const PLAIN_TEXT_BYTES: usize = 64;
/// How many attributes a host has.
pub const ATTRIBUTES_MOST: usize = 16;
/// Bytes of the `detail` text of a reply.
pub const DETAIL_BYTES: usize = 400;
/// The shortest time a client may give the host.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// The shortest time a client may give the host for an `off` or a `reboot`: so long libvirt may be waited for before the target is stopped
/// without its word.
pub const STOP_TIMEOUT_MIN: Duration = Duration::from_secs(6);
/// The longest time a client may give the host.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// What the host assumes when the client does not say how long it waits.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(55);
/// The longest delay before an order is accepted.
pub const DELAY_MAX: Duration = Duration::from_secs(600);
