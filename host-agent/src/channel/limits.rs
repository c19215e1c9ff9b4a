//! How much a guest may ask, and as how much it counts.
//!
//! In:  requests, and the time that reading them took. Out: when the next ones may be read.
//!
//! Invariant: who asks no more than it may is not one that asks much, also where a busy host takes three or four times as long to read
//! it; and connecting again gives a guest nothing.

use std::time::Duration;

use super::bucket::Bucket;

/// Requests a guest may ask in a second, and at once.
pub const REQUESTS: (u32, u32) = (20, 40);
/// Reads of its socket in a second, and at once.
pub const READS: (u32, u32) = (40, 100);
/// What a read may cost. The kernel keeps bytes as they were written, and takes for a hundred that came one by one as long as for
/// a hundred lines: such a read counts as many.
pub(super) const READ_COST: Duration = Duration::from_micros(12);
/// So many at most.
pub(super) const DEAREST: u32 = 32;
/// So many at least where dear bytes are left, which makes a guest one that asks much; but not for long, since one read may take
/// long by chance.
pub(super) const ENOUGH: u32 = READS.1 / 10 + 2;
/// What brought a whole frame, which is counted for itself, counts as one read as long as it cost no more than so many: on a busy
/// host every read takes that long, and who asks no more than it may is not one of those that ask much for that.
pub(super) const OF_A_FRAME: u32 = 4;

/// What a guest may ask yet, also over its next connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub(super) requests: Bucket,
    pub(super) reads: Bucket,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: Bucket::new(REQUESTS), reads: Bucket::new(READS) }
    }
}

/// As how many reads one counts that took so long.
pub(super) fn reads_worth(cost: Duration) -> u32 {
    let times = cost.as_nanos() / READ_COST.as_nanos();
    u32::try_from(times).unwrap_or(u32::MAX).saturating_add(1).min(DEAREST)
}
