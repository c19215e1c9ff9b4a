//! One connection to libvirt, and what its errors mean.
//!
//! In:  a URI. Out: a [`Link`] whose calls may wait for libvirtd: for blocking threads only.
//!
//! Invariant: a dropped link is closed, which the `virt` crate leaves to its user, and whoever drops it does not wait:
//! closing asks libvirtd, which may be stopped.

use std::sync::Arc;

use virt::connect::Connect;
use virt::error::{Error, ErrorDomain, ErrorNumber};

use super::ffi::{self, Listener, Subscription};
use crate::hypervisor::CallError;

/// Seconds between keepalive messages, and how many may stay unanswered: after 30 s of silence a connection is given up. Not before, since a
/// libvirtd that hangs mostly goes on, and one whose connections end in that very moment can crash (seen with libvirt 9.0.0).
const KEEPALIVE: (i32, u32) = (5, 5);

pub(super) struct Link {
    connect: Arc<Connect>,
    subscription: Subscription,
}

impl Link {
    /// Opens a connection. Waits for as long as libvirtd is stopped.
    pub(super) fn open(uri: &str) -> Result<Self, CallError> {
        let connect =
            Connect::open(Some(uri)).map_err(|error| CallError::Unreachable(one_line(error.message())))?;
        let (interval, count) = KEEPALIVE;
        if let Err(error) = connect.set_keep_alive(interval, count) {
            tracing::debug!(error = error.message(), "this connection has no keepalive");
        }
        Ok(Self { connect: Arc::new(connect), subscription: Subscription::default() })
    }

    /// Opens a connection that tells its events.
    pub(super) fn open_listening(uri: &str, listener: &Arc<dyn Listener>) -> Result<Self, CallError> {
        let mut link = Self::open(uri)?;
        link.subscription = ffi::subscribe(&link.connect, listener).map_err(call_error)?;
        Ok(link)
    }

    pub(super) fn connect(&self) -> &Connect {
        &self.connect
    }

    /// Whether its socket stands; asks nobody.
    pub(super) fn is_alive(&self) -> bool {
        self.connect.is_alive().unwrap_or(false)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let (connect, subscription) = (self.connect.clone(), std::mem::take(&mut self.subscription));
        let closing = std::thread::Builder::new().name("libvirt-close".to_owned());
        if let Err(error) = closing.spawn(move || ffi::close(&connect, &subscription)) {
            tracing::warn!(%error, "a connection to libvirt stays open: no thread to close it");
        }
    }
}

/// What an error of a call means to the caller.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn call_error(error: Error) -> CallError {
    let text = one_line(error.message());
    match (error.code(), error.domain()) {
        (ErrorNumber::NoDomain, _) => CallError::NoDomain,
        (ErrorNumber::NoConnect | ErrorNumber::InvalidConn | ErrorNumber::AuthFailed, _)
        | (_, ErrorDomain::Rpc) => CallError::Unreachable(text),
        _ => CallError::Failed(text),
    }
}

/// libvirt's messages hold other programs' output and thus line ends.
fn one_line(message: &str) -> String {
    let printable = message.replace(char::is_control, " ");
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line("monitor failed:\n\tqemu: \u{1b}[1mbad\r\n"), "monitor failed: qemu: [1mbad");
    }
}
