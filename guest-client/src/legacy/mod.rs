//! The incumbent's dialects: serial port, guestfwd, multicast, TCP, vsock.
//!
//! In:  what to ask, and by which [`Transport`]. Out: a [`Finding`].
//!
//! Invariant: what could not be asked is a failure, and so is a success of a server that does not know the target.

mod ear;
mod error;
mod line;
mod multicast;
mod network;
mod questions;
mod serial;

use std::time::Instant;

use fence_vmchannel_protocol::legacy::HostRecord;
use fence_vmchannel_protocol::{Ask, Power};
use tokio::time::sleep_until;

use crate::action::Action;
use crate::options::{Options, Transport};
use crate::outcome::{Finding, chain};
use crate::trace::Trace;
use error::LegacyError;
use line::Line;
use questions::{Server, targets};

/// Asks the host by this transport, which is none of this project's own.
pub(crate) fn ask(transport: &Transport, ask: &Ask, options: &Options, started: Instant) -> Finding {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let asked = runtime.map_err(LegacyError::Runtime).and_then(|runtime| {
        let trace = Trace::new(started, options.verbose);
        trace.say(format_args!("asking by {transport}"));
        runtime.block_on(converse(transport, ask, options, started, trace))
    });
    match asked {
        Ok(finding) => finding,
        Err(LegacyError::Denied { target }) => Finding::denied(format!(
            "the server does not permit it, or has no domain {target}; see its configuration on the host"
        )),
        Err(error) => Finding::failure(chain(&error)).and(crate::no_answer(ask)),
    }
}

async fn converse(
    transport: &Transport,
    ask: &Ask,
    options: &Options,
    started: Instant,
    trace: Trace,
) -> Result<Finding, LegacyError> {
    // These dialects have no word for a delay: it is waited here.
    sleep_until((started + options.delay).into()).await;
    let deadline = (started + options.delay + options.timeout).into();
    let mut server = Server::new(Line::to(transport, options.timeout, deadline, trace)?, trace);
    match ask {
        Ask::Power(Power::Off, target) => server.off(target).await,
        Ask::Power(Power::On, target) => server.on(target).await,
        Ask::Power(Power::Reboot, target) => server.reboot(target).await,
        Ask::Status(target) => server.status(target).await,
        Ask::List => Ok(listed(options.action, &server.list().await?)),
        Ask::Monitor => server.monitor().await,
        Ask::Hello | Ask::Whoami | Ask::HostStatus | Ask::Explain(_) => {
            Err(LegacyError::Unsupported { word: ask.op() })
        }
    }
}

fn listed(action: Action, records: &[HostRecord]) -> Finding {
    let (items, strange) = targets(records);
    let told = items.iter().map(|item| crate::outcome::list_line(action, item)).collect();
    Finding::list(items, told).and(strange)
}
