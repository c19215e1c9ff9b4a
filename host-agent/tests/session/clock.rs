//! Time that passes only when a test says so.
//!
//! tokio's paused clock jumps to the next timer whenever nothing is ready, also when bytes wait in a socket that nobody
//! has looked at yet. So a test never waits idly: it lets happen what needs no time, then moves the clock a step.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, advance};

/// How far the clock moves at once.
pub(crate) const STEP: Duration = Duration::from_millis(10);

/// Lets everything happen that needs no time.
pub(crate) async fn settle() {
    for _ in 0..32 {
        yield_now().await;
    }
}

/// Lets this much time pass, and what happens in it happen.
pub(crate) async fn pass(time: Duration) {
    let until = Instant::now() + time;
    settle().await;
    while Instant::now() < until {
        advance(STEP.min(until - Instant::now())).await;
        settle().await;
    }
}
