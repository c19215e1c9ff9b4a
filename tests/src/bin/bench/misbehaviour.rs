//! What a guest can do to a daemon through its channel.
//!
//! In:  a connected channel, a kind of attack, valid requests. Out: the attack, until it is over.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// How long a write may take before it is asked whether the attack is over.
const GIVE_UP: Duration = Duration::from_millis(200);

/// A kind of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Five bytes each second that never become a request.
    Drip,
    /// Valid requests as fast as they are taken; the replies are read.
    Flood,
    /// Bytes that are no request, as fast as they are taken.
    Noise,
    /// Valid requests as fast as they are taken; no reply is read.
    Deaf,
    /// The channel is closed.
    Close,
}

impl Kind {
    /// All of them, in the order in which they hurt.
    pub(crate) const ALL: [Self; 5] = [Self::Drip, Self::Close, Self::Flood, Self::Noise, Self::Deaf];

    /// Its name as an argument.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Drip => "drip",
            Self::Flood => "flood",
            Self::Noise => "noise",
            Self::Deaf => "deaf",
            Self::Close => "close",
        }
    }
}

/// Misbehaves until it is over, or until nobody listens any more.
pub(crate) fn misbehave(
    mut channel: UnixStream,
    kind: Kind,
    mut request: impl FnMut() -> Vec<u8>,
    is_over: &AtomicBool,
) {
    let Ok(mut replies) = channel.try_clone() else { return };
    channel.set_write_timeout(Some(GIVE_UP)).ok();
    channel.set_read_timeout(Some(GIVE_UP)).ok();
    let goes_on = || !is_over.load(Ordering::Relaxed);
    let mut send = |bytes: &[u8]| goes_on() && is_open(channel.write_all(bytes));
    match kind {
        Kind::Close => {}
        Kind::Drip => {
            while send(b"abba\x04") {
                sleep(SECOND);
            }
        }
        Kind::Noise => while send(&[b'~'; 4096]) {},
        Kind::Deaf => while send(&request()) {},
        Kind::Flood => scope(|scope| {
            scope.spawn(|| while goes_on() && is_open(replies.read_exact(&mut [0; 1024])) {});
            while send(&request()) {}
        }),
    }
}

/// Whether there is somebody yet; a full or an empty channel is no end.
fn is_open(done: io::Result<()>) -> bool {
    done.map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |()| true)
}
