//! Why a legacy server's answer is no success.
//!
//! In:  failures of the way, of the key, of the server. Out: words that say what to do.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use fence_vmchannel_protocol::legacy::{NetworkError, StructError};

use crate::port::PortError;

/// Why there is no answer that can be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LegacyError {
    #[error("this program cannot wait for input and output; try again")]
    Runtime(#[source] io::Error),
    #[error("{word} is no action of fence_virt and fence_xvm; call this program by the name fence_vmchannel")]
    Unsupported { word: &'static str },
    #[error("no answer from the server within {} s; see its log on the host", .within.as_secs_f64())]
    NoAnswer { within: Duration },
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("the server is away: it closed the connection, or nothing serves the other end")]
    Away,
    #[error("cannot reach {place}")]
    Unreachable {
        place: String,
        #[source]
        source: io::Error,
    },
    #[error("no interface of this guest can send to the multicast group {group}; see `ip addr`")]
    NoInterface { group: String },
    #[error("the key {} cannot be used; give the server's key by --key-file, or say -C none -c none", .path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the server does not know our key: its answer to our challenge is wrong; compare key files and -C"
    )]
    Impostor,
    #[error("the target cannot be asked for in this dialect")]
    Target(#[from] StructError),
    #[error("the request cannot be signed")]
    Request(#[from] NetworkError),
    #[error("permission denied")]
    Denied { target: String },
    #[error("the server says that it failed; see its log on the host")]
    Failed,
    #[error("the server answered something that was not asked")]
    Confused,
    #[error(
        "the server does not list {target}, so its word about it would prove nothing; check the name by the action list"
    )]
    NotListed { target: String },
    #[error(
        "two servers list {target}, {one} and {other}: what one of them says proves nothing of the other's; \
         take the domain's definition from one of the hosts, or name the target by its UUID",
        one = .servers[0], other = .servers[1]
    )]
    TwoServers { target: String, servers: [IpAddr; 2] },
    #[error("the server says that it did it, but lists {target} as {state}: not believed")]
    Contradiction { target: String, state: &'static str },
}
