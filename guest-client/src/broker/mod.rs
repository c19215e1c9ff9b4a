//! `fence_vmchannel broker`: shares the channel among the programs of this guest.
//!
//! In:  the port; a Unix socket that programs connect to; `broker.toml`. Out: their requests to the host, its answers to
//! them.
//!
//! Invariant: the broker says of itself that a request was refused, or that its time was over; everything else that it
//! says are the host's own words, and for the program that asked.
//!
//! The flow: `socket` -> `program` -> `policy` and `desk` -> `uplink`, and back by `heading`. `serve` is where it comes
//! together.

mod accounts;
mod bucket;
mod desk;
mod heading;
mod log;
mod policy;
mod program;
mod serve;
mod socket;
mod uplink;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Command, CommandFactory, Parser};
use tokio::sync::mpsc;

use crate::outcome::{Outcome, chain};
use crate::port::BROKER;
use crate::trace::Trace;
use accounts::Accounts;
use log::Log;
use policy::{Policy, PolicyError};
use socket::{Door, SocketError};
use uplink::Uplink;

/// The word on the command line.
pub(crate) const WORD: &str = "broker";

/// Shares the channel among the programs of this guest.
///
/// Programs connect to a Unix socket; `fence_vmchannel` does so by itself where there is one. Root may ask everything,
/// others what /etc/fence-vmchannel/broker.toml allows.
#[derive(Debug, Parser)]
#[command(name = "fence_vmchannel broker", bin_name = "fence_vmchannel broker", version)]
struct Arguments {
    /// The channel, for example /dev/ttyS1 [default: the virtio port org.fence_vmchannel.0]
    #[arg(short = 'D', long, value_name = "PATH")]
    device: Option<PathBuf>,

    /// Where to listen, unless a listening socket is standard input
    #[arg(long, value_name = "PATH", default_value = BROKER)]
    socket: PathBuf,

    /// Who may ask what
    #[arg(long, value_name = "PATH", default_value = "/etc/fence-vmchannel/broker.toml")]
    config: PathBuf,

    /// Say whether the configuration is right, and do nothing else
    #[arg(long)]
    check: bool,

    /// Tell each step with its time on standard error
    #[arg(short = 'v', long)]
    verbose: bool,
}

/// Why the broker ended.
#[derive(Debug, thiserror::Error)]
enum BrokerError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the broker cannot begin")]
    System(#[from] io::Error),
}

/// The broker's command line.
#[must_use]
pub fn command() -> Command {
    Arguments::command()
}

/// The broker, from its arguments (without the program's name) to its end.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>, started: Instant) -> Outcome {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(usage) if usage.use_stderr() => return Outcome::failure(&usage),
        Err(help) => return Outcome::success(vec![help.to_string().trim_end().to_owned()]),
    };
    let policy = read_policy(&arguments.config);
    match (policy, arguments.check) {
        (Ok(_), true) => Outcome::success(vec![format!("{} is right", arguments.config.display())]),
        (Err(error), true) => Outcome::failure(&error),
        (policy, false) => {
            let policy = policy.unwrap_or_else(|error| {
                let error = chain(&error);
                Log::new().say(format_args!("{error}; it is not used: nobody but root may ask anything"));
                Policy::default()
            });
            match begin(arguments, policy, started) {
                Ok(()) => Outcome::success(Vec::new()),
                Err(error) => Outcome::failure(&error),
            }
        }
    }
}

fn read_policy(path: &Path) -> Result<Policy, PolicyError> {
    let etc = Path::new("/etc");
    let unreadable = |source| PolicyError::Unreadable { path: etc.to_owned(), source };
    Policy::read(path, &Accounts::read(etc).map_err(unreadable)?)
}

fn begin(arguments: Arguments, policy: Policy, started: Instant) -> Result<(), BrokerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let trace = Trace::new(started, arguments.verbose);
    runtime.block_on(async {
        let door = Door::open(&arguments.socket)?;
        let (words, host) = mpsc::channel(uplink::WORDS);
        let uplink = Uplink { device: arguments.device, words, trace };
        tokio::select! {
            served = serve::serve(door, policy, host) => Ok(served?),
            () = uplink.keep() => Ok(()),
        }
    })
}
