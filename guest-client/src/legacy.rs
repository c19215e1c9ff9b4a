//! The incumbent's dialects: serial port, guestfwd, multicast, TCP, vsock.
//!
//! In:  what to ask, and by which [`Transport`]. Out: a [`Finding`].
//!
//! Invariant: what could not be asked is a failure.

use std::time::Instant;

use fence_vmchannel_protocol::Ask;

use crate::options::{Options, Transport};
use crate::outcome::Finding;

/// Asks the host by this transport, which is none of this project's own.
pub(crate) fn ask(transport: &Transport, _ask: &Ask, _options: &Options, _started: Instant) -> Finding {
    Finding::failure(format!("{transport}: not built yet; use this guest's own channel (fence_vmchannel)"))
}
