//! Turns: who asks much waits for the others that do, so that nobody else waits for them.
//!
//! In:  who asked much of late, and wants to be heard, told or let in. Out: its leave to be.
//!
//! Invariant: from one of them to the next everything else goes on that can, and the kernel is asked what else there is, however
//! many wait for their turn.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// One line of all that ask much.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    /// Nobody waits for others any more: the agent ends, and who can still be told something is.
    pub(crate) fn open(&self) {
        self.0.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Goes to the end of the line, and is ready when it is through.
    pub(crate) fn line_up(&self) -> BoxFuture<'static, ()> {
        let line = self.0.clone();
        async move {
            let _turn = line.acquire_owned().await;
            yield_now().await;
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn when_the_agent_ends_nobody_waits_in_line() {
        let (turns, mut all) = (Turns::default(), JoinSet::new());
        for _ in 0..200 {
            all.spawn(turns.line_up());
        }

        turns.open();
        for _ in 0..8 {
            yield_now().await;
        }

        let through = std::iter::from_fn(|| all.try_join_next()).count();
        assert_eq!(through, 200);
    }
}
