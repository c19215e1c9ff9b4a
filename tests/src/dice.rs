//! Dice: chance that can be repeated.
//!
//! In:  a seed, from `FENCE_TEST_SEED` or the kernel. Out: numbers.
//!
//! Invariant: the same seed gives the same numbers; the seed is printed, so that a failure can be thrown again.

use std::fs;
use std::time::Duration;

use crate::error::{Doing, Result};

/// A generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Takes the seed of the environment or a random one, and prints it.
    ///
    /// # Errors
    /// When the kernel gives no random number.
    pub fn cast() -> Result<Self> {
        let chosen = std::env::var("FENCE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = match chosen {
            Some(seed) => seed,
            None => {
                let random = fs::read_to_string("/proc/sys/kernel/random/uuid").doing("make a seed")?;
                random.get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(1)
            }
        };
        Ok(Self::with_seed(seed))
    }

    /// Takes this seed and prints it.
    #[must_use]
    #[expect(clippy::print_stdout, reason = "a test shows it when it fails")]
    pub fn with_seed(seed: u64) -> Self {
        println!("FENCE_TEST_SEED={seed}");
        Self(seed)
    }

    /// Dice for somebody else, whose throws these decide too.
    #[must_use]
    pub fn another(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound.max(1)
    }

    /// A time of at least `least` and less than `most`, in whole milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_millis();
        least + Duration::from_millis(self.below(u64::try_from(span).unwrap_or(u64::MAX)))
    }
}
