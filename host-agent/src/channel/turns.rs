//! Turns: who asks much waits for the others that do, so that nobody else waits for them.
//!
//! In:  who has been heard more often of late than an honest guest would be. Out: its leave to be heard again.
//!
//! Invariant: between two of them everything else goes on that can, and the kernel is asked what else there is, however many
//! wait for their turn.

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
