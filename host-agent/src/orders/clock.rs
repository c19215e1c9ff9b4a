//! The time since the host's boot, which goes on while the host is suspended and the agent restarted.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Where the time comes from.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The kernel's CLOCK_BOOTTIME.
    Boot,
    /// A time that a test has in its hands.
    Since {
        /// The time since the host's boot at this moment.
        boot: Duration,
        /// This moment.
        at: Instant,
    },
}

impl Clock {
    pub(super) fn now(self) -> Duration {
        match self {
            Self::Boot => clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default(),
            Self::Since { boot, at } => boot + at.elapsed(),
        }
    }
}

/// The host was booted this long ago; from now on time passes as tokio's does.
impl From<Duration> for Clock {
    fn from(boot: Duration) -> Self {
        Self::Since { boot, at: Instant::now() }
    }
}
