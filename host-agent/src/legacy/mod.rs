//! What is asked in the legacy dialects, answered by the same policy, arbiter and evidence as everything else.
//!
//! In:  a caller and its question. Out: one code, or a list.
//!
//! Invariant: success is said only where v2 says so with evidence; whatever is unknown, late or malformed is a failure.

mod code;
pub mod network;
pub(crate) mod question;

use std::time::Duration;

use crate::config::Legacy;

/// Clients wait 30 s when they are used as distributions ship them. A later answer is for nobody, or for the next one who asks.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// Says in the log what is to be known of the listeners.
pub(crate) fn warn(legacy: &Legacy) {
    legacy.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
}
