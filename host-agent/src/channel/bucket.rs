//! A token bucket.

use std::time::Duration;

use tokio::time::Instant;

/// Lets `rate` things pass in a second and up to `burst` at once. Small: every channel has some.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    rate: u32,
    burst: u32,
    /// When the bucket will be full again.
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn new((rate, burst): (u32, u32)) -> Self {
        Self { rate: rate.max(1), burst, full_at: Instant::now() }
    }

    fn every(&self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// When the next thing may pass.
    pub(crate) fn ready_at(&self) -> Instant {
        let depth = self.every() * self.burst.saturating_sub(1);
        self.full_at.checked_sub(depth).unwrap_or(self.full_at)
    }

    /// Whether more than a tenth of what may pass at once has passed lately.
    pub(crate) fn is_drawn_on(&self) -> bool {
        self.full_at > Instant::now() + self.every() * (self.burst / 10)
    }

    /// One thing passes if it may.
    pub(crate) fn pass(&mut self) -> bool {
        let may_pass = self.ready_at() <= Instant::now();
        if may_pass {
            self.take();
        }
        may_pass
    }

    /// One thing passes.
    pub(crate) fn take(&mut self) {
        self.take_many(1);
    }

    /// Something passes that counts as so many.
    pub(crate) fn take_many(&mut self, count: u32) {
        self.full_at = self.full_at.max(Instant::now()) + self.every() * count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let mut bucket = Bucket::new((20, 40));
        for _ in 0..40 {
            assert!(bucket.ready_at() <= Instant::now());
            bucket.take();
        }

        assert!(bucket.ready_at() > Instant::now());
        tokio::time::advance(Duration::from_millis(50)).await;

        assert!(bucket.ready_at() <= Instant::now());
        bucket.take();
        assert!(bucket.ready_at() > Instant::now());
    }
}
