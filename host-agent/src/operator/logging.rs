//! Where the agent's own words go: stderr, which systemd takes into the journal.
//!
//! In:  `FENCE_VMCHANNEL_LOG` (a level, or `target=level,...`; default `info`). Out: lines on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable that sets what is logged.
pub const VARIABLE: &str = "FENCE_VMCHANNEL_LOG";

/// Starts logging. A filter that cannot be read is told, and `info` holds.
pub fn start() {
    let told = std::env::var(VARIABLE).unwrap_or_default();
    let filter = if told.is_empty() { Ok(EnvFilter::new("info")) } else { EnvFilter::try_new(&told) };
    let wrong = filter.as_ref().err().map(ToString::to_string);
    let log = tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("info")))
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false) // it would print them to the same stderr, and panic where that is closed
        .with_writer(std::io::stderr);
    // The journal has its own clock. A second start (in one process) changes nothing.
    let _ = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().try_init(),
        None => log.try_init(),
    };
    if let Some(text) = wrong {
        tracing::warn!("{VARIABLE}={told:?} is not used ({text}): expected for example info or debug");
    }
}
