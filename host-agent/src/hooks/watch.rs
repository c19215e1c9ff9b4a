//! Hears that something happened in a directory, or to it: the spool, and the policy's files.
//!
//! In:  the directory's path, given again at each look.
//! Out: "look again", nothing more.
//!
//! Invariant: one inotify descriptor for the agent's whole life (closing one blocks for up to 60 ms); an
//! overflow of its queue is an event like any other, since every event means "look again".

use std::io::Error;
use std::path::Path;

use futures_util::{FutureExt, StreamExt};
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::time::{Instant, sleep_until, timeout_at};

/// The ear. Without a descriptor (the system has none left) it is deaf until the next look.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    events: Option<EventStream<Vec<u8>>>,
    inside: Option<WatchDescriptor>,
    around: Option<WatchDescriptor>,
}

impl Watch {
    /// Watches what is at `dir` now, and the directory around it. Adding a watch twice is the same watch.
    pub(crate) fn point_at(&mut self, dir: &Path) -> Result<(), Error> {
        let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ATTRIB | WatchMask::ONLYDIR;
        let comings = WatchMask::CREATE | WatchMask::MOVED_TO;
        let goings = WatchMask::DELETE | WatchMask::MOVED_FROM;
        let events = match self.events.take() {
            Some(events) => events,
            None => Inotify::init()?.into_event_stream(vec![0; 4096])?,
        };
        let events = self.events.insert(events);
        if let Some(around) = dir.parent() {
            turn(events, &mut self.around, around, itself | comings | goings)?;
        }
        turn(events, &mut self.inside, dir, itself | comings | goings | WatchMask::CLOSE_WRITE)
    }

    /// Returns when something happened, or at `until`. Cancel safe.
    pub(crate) async fn changed(&mut self, until: Instant) {
        let Some(events) = &mut self.events else { return sleep_until(until).await };
        match timeout_at(until, events.next()).await {
            Ok(Some(Ok(_))) => while let Some(Some(Ok(_))) = events.next().now_or_never() {}, // one look for all
            Ok(Some(Err(_)) | None) => {
                *self = Self::default(); // begins anew at the next look, and not at once: it may fail again
                sleep_until(until).await;
            }
            Err(_) => {}
        }
    }
}

/// Adds the watch; lets go of the one before when another directory is at that path now.
fn turn(
    events: &EventStream<Vec<u8>>,
    current: &mut Option<WatchDescriptor>,
    path: &Path,
    mask: WatchMask,
) -> Result<(), Error> {
    let mut watches = events.watches();
    let new = watches.add(path, mask)?;
    if let Some(old) = current.replace(new.clone()).filter(|old| *old != new) {
        let _ = watches.remove(old); // the kernel may have let go of it already
    }
    Ok(())
}
