//! Whether the agent was held up: stopped or starved. While the host is suspended no time passes for its guests either.
//!
//! In:  a beat of its own, some times a second. Out: whether beats were missed just now.
//!
//! Invariant: a line does not say when it was sent. What is read just after a hold-up may be of any age, and its asker may
//! have given up, and fenced its target otherwise, long ago.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often the pulse beats.
const BEAT: Duration = Duration::from_millis(200);
/// No beat for this long is a hold-up.
const HELD_UP: Duration = Duration::from_secs(3);
/// How long after a hold-up everything is read that had come before its end.
const AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Beats>);

#[derive(Debug, Default, Clone, Copy)]
struct Beats {
    last: Option<Instant>,
    stumbled: Option<Instant>,
}

impl Pulse {
    /// Beats once; returns when it is time for the next beat.
    pub(super) async fn beat(&self) {
        self.take(Instant::now());
        sleep(BEAT).await;
    }

    fn take(&self, now: Instant) {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gap) = beats.last.map(|last| now - last).filter(|gap| *gap > HELD_UP) {
            tracing::warn!(?gap, "the agent was held up: orders that were asked for meanwhile are not taken");
            beats.stumbled = Some(now);
        }
        beats.last = Some(now);
    }

    /// Whether what is read now may be old. Where the pulse does not beat, nothing is.
    pub(super) fn was_held_up(&self) -> bool {
        let beats = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_held_up = beats.last.is_some_and(|last| last.elapsed() > HELD_UP);
        is_held_up || beats.stumbled.is_some_and(|end| end.elapsed() < AFTER)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_read_just_after_a_hold_up_may_be_old_and_later_it_is_not() {
        let pulse = Pulse::default();
        assert!(!pulse.was_held_up(), "it does not beat yet");
        pulse.take(Instant::now());
        advance(BEAT).await;
        assert!(!pulse.was_held_up());

        advance(HELD_UP).await;
        assert!(pulse.was_held_up(), "before its next beat");
        pulse.take(Instant::now());
        assert!(pulse.was_held_up(), "after it");
        advance(AFTER).await;
        pulse.take(Instant::now());

        assert!(!pulse.was_held_up());
    }
}
