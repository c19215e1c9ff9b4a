//! A token bucket.
//!
//! In:  the time. Out: whether something may pass, or when.
//!
//! Invariant: never more than the burst at once, and never more than the rate in the long run.

use std::time::Duration;

use tokio::time::Instant;

/// Lets `rate` things pass in a second and up to `burst` at once.
#[derive(Debug)]
pub(super) struct Bucket {
    every: Duration,
    burst: u32,
    /// When the bucket will be full again.
    full_at: Instant,
}

impl Bucket {
    pub(super) fn new((rate, burst): (u32, u32), now: Instant) -> Self {
        Self { every: Duration::from_secs(1) / rate.max(1), burst, full_at: now }
    }

    /// When the next thing may pass that leaves `reserve` for others.
    pub(super) fn ready_at(&self, reserve: u32) -> Instant {
        let depth = self.every * self.burst.saturating_sub(1 + reserve);
        self.full_at.checked_sub(depth).unwrap_or(self.full_at)
    }

    /// One thing passes.
    pub(super) fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_the_reserve_is_kept_for_others() {
        let now = Instant::now();
        let mut bucket = Bucket::new((20, 40), now);
        let passed = |bucket: &mut Bucket, now, reserve| {
            let mut count = 0;
            while bucket.ready_at(reserve) <= now {
                bucket.take(now);
                count += 1;
            }
            count
        };

        assert_eq!(passed(&mut bucket, now, 10), 30);
        assert_eq!(passed(&mut bucket, now, 0), 10);
        assert_eq!(passed(&mut bucket, now + Duration::from_millis(50), 0), 1);
    }
}
