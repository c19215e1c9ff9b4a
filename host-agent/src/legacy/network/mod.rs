//! Listeners for existing clients on a network, off unless they are configured.
//!
//! In:  packets and connections. Out: each one's answer, or silence.
//!
//! Invariant: an address that is not configured is closed unread; nothing is done, and no challenge answered, for a request whose
//! hash is not right, strong enough and new; a network never holds up a guest's channel.

mod exchange;
mod gate;
mod multicast;
mod open;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{sleep, sleep_until};

use crate::agent::Agent;
use crate::channel::bucket::Bucket;
use crate::config::{Legacy, Listener};
pub use gate::Gate;
pub(crate) use gate::read_key;
use open::{Arrival, Open};

/// How soon a listener that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Arrivals that are looked at in a second, and at once; the kernel keeps or drops the others.
const ARRIVALS: (u32, u32) = (200, 100);
/// How many requests of one listener are under way at a time.
const MOST: usize = 64;

/// Everything that listens, each of which never ends: they belong into the daemon's JoinSet.
///
/// # Errors
/// The shared key cannot be used: then nothing listens.
pub fn listeners(legacy: &Legacy, agent: &Agent) -> Result<Vec<BoxFuture<'static, ()>>, String> {
    let gate = Arc::new(Gate::new(legacy, agent)?);
    let tend = |listener: &Listener| tend(gate.clone(), listener.clone()).boxed();
    Ok(legacy.listeners.iter().map(tend).collect())
}

/// Listens for as long as the agent runs.
async fn tend(gate: Arc<Gate>, listener: Listener) {
    let mut told = false;
    loop {
        match Open::at(&listener) {
            Ok(open) => {
                tracing::info!(target: "legacy", %listener, "listening");
                told = false;
                serve(&gate, &open).await;
            }
            Err(error) if !told => {
                told = true;
                tracing::error!(target: "legacy", %listener, %error, "cannot listen; trying again");
            }
            Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

/// Serves until the listener has to be opened anew.
async fn serve(gate: &Gate, open: &Open) {
    let mut visits = FuturesUnordered::new();
    let mut pace = Bucket::new(ARRIVALS);
    loop {
        tokio::select! {
            arrival = next(open, &mut pace), if visits.len() < MOST => match arrival {
                Arrival::Packet(packet, from) => visits.push(gate.on_packet(packet, from).boxed()),
                Arrival::Stream(stream, whence) => visits.push(gate.on_stream(stream, whence, open.dialect()).boxed()),
                Arrival::Nothing => {}
                Arrival::Stale => return,
            },
            Some(()) = visits.next() => {}
        }
    }
}

/// The next arrival, at the allowed rate. Cancel safe.
async fn next(open: &Open, pace: &mut Bucket) -> Arrival {
    sleep_until(pace.ready_at()).await;
    let arrival = open.next().await;
    pace.take();
    arrival
}
