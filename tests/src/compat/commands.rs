//! The command line of one question, for each client and way.
//!
//! In:  a combination, an action, a target. Out: words that run at the client's place.

use std::path::Path;

use super::{Action, Combination, Server, Way};
use crate::guest::GUESTFWD;
use crate::network::HOST_V4;

/// How long a client may wait for its answer.
const SECONDS: u8 = 6;
/// The host's context id, by vsock(7).
const HOST_CID: u32 = 2;
/// fence_virtd's port of the guest, beside ours.
const THEIR_TTY: &str = "/dev/ttyS2";
/// The address that leads to fence_virtd, beside ours.
pub(super) const THEIR_GUESTFWD: &str = "10.0.2.180";

impl Combination {
    /// The client's options for this action on this target.
    pub(super) fn options(self, action: Action, target: &str, key: &Path) -> Vec<String> {
        let mut words = self.way_options(key);
        words.extend(["-o".into(), action.word().into(), "-t".into(), SECONDS.to_string()]);
        if !matches!(action, Action::List | Action::Monitor) {
            words.extend(["-n".into(), target.into()]);
        }
        words
    }

    fn way_options(self, key: &Path) -> Vec<String> {
        let (tty, guestfwd) = match self.server {
            Server::Agent => ("/dev/ttyS1", GUESTFWD),
            Server::FenceVirtd => (THEIR_TTY, THEIR_GUESTFWD),
        };
        let way = match self.way {
            Way::Serial => return words(&format!("-D {tty}")),
            Way::Guestfwd => return words(&format!("-A {guestfwd}")),
            Way::MulticastV4 => "-i ipv4".to_owned(),
            Way::MulticastV6 => "-i ipv6".to_owned(),
            Way::Tcp => format!("-T {HOST_V4}"),
            Way::Vsock => format!("-S {HOST_CID}"),
        };
        let hash = self.hash.word();
        words(&format!("{way} -c {hash} -C {hash} -k {}", key.display()))
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
