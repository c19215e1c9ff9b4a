//! Listeners for existing clients on a network, off unless they are configured.
//!
//! In:  packets and connections. Out: each one's answer, or silence.
//!
//! Invariant: an address that is not configured is closed unread; nothing is done, and no challenge answered, for a request whose
//! hash is not right, strong enough and new; a network never holds up a guest's channel.

mod exchange;
mod gate;
mod key;
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
use gate::Weighed;
pub(crate) use key::{key_warnings, read_key};
use open::{Arrival, Open};

/// How soon a listener that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Requests of peers that are taken up in a second, and at once; the kernel keeps or drops the others.
const SERVED: (u32, u32) = (200, 100);
/// The same for what is only looked at and dropped, which costs a hash at most: so many that peers are found among it, and so few that
/// guests do not notice.
const DROPPED: (u32, u32) = (2_000, 500);

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
                let next = next_step(&error);
                tracing::error!(target: "legacy", %listener, %error, next, "cannot listen; trying again");
            }
            Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

/// What to do about an error that comes of the unit's sandbox.
fn next_step(error: &std::io::Error) -> Option<&'static str> {
    let is_forbidden = error.kind() == std::io::ErrorKind::PermissionDenied
        || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT);
    is_forbidden.then_some("the unit allows no network: `fence-vmchanneld check-config` says what does")
}

/// Serves until the listener has to be opened anew.
async fn serve(gate: &Gate, open: &Open) {
    let mut visits = FuturesUnordered::new();
    let mut pace = Pace { served: Bucket::new(SERVED), dropped: Bucket::new(DROPPED) };
    loop {
        let weighed = tokio::select! {
            arrival = next(open, &pace), if visits.len() < gate.most() => match arrival {
                Arrival::Packet(packet, from) => gate.weigh_packet(packet, from),
                Arrival::Stream(stream, whence) => gate.weigh_stream(stream, whence, open.dialect()),
                Arrival::Nothing => Weighed::Dropped,
                Arrival::Stale => return,
            },
            Some(()) = visits.next() => continue,
        };
        match weighed {
            Weighed::Served(visit) => {
                pace.served.take();
                visits.push(visit);
            }
            Weighed::Dropped => pace.dropped.take(),
        }
    }
}

/// How fast a listener goes on. Strangers have a pace of their own, so that peers keep theirs.
struct Pace {
    served: Bucket,
    dropped: Bucket,
}

/// The next arrival, at the allowed rate. Cancel safe.
async fn next(open: &Open, pace: &Pace) -> Arrival {
    sleep_until(pace.served.ready_at().max(pace.dropped.ready_at())).await;
    open.next().await
}
