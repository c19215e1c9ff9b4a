//! The broker's one connection to the host.
//!
//! In:  lines for the host. Out: [`HostWord`]s: the host is there, says something, is away.
//!
//! Invariant: lines for one connection never reach another one; a port that is away, busy or not there yet is tried
//! again for ever, never in a spin.

use std::path::PathBuf;
use std::time::Duration;

use fence_vmchannel_protocol::{Decoder, Frame};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::outcome::chain;
use crate::port::{Event, Places, Port, PortError, Ways, find};
use crate::trace::Trace;

/// How long to wait for a port before telling why it is not there; then it is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// After an error that waiting does not cure: there is no such port, or it may not be opened.
const ERROR_LOOK: Duration = Duration::from_secs(1);
/// Lines that may wait to be written.
const LINES: usize = 16;
/// Words that may wait to be taken.
pub(super) const WORDS: usize = 16;

/// What is to be told of the host.
pub(super) enum HostWord {
    /// It is there; lines go this way.
    There(mpsc::Sender<Vec<u8>>),
    /// It said something.
    Said(Frame),
    /// It is not there, and why.
    Away(String),
}

/// The connection to the host.
pub(super) struct Uplink {
    /// The device, where it was named.
    pub(super) device: Option<PathBuf>,
    pub(super) words: mpsc::Sender<HostWord>,
    pub(super) trace: Trace,
}

impl Uplink {
    /// Keeps the connection for ever, until nobody listens to its words any more.
    pub(super) async fn keep(self) {
        let mut port = None;
        loop {
            let (again, why) = match self.talk(&mut port).await {
                Ok(()) => (Duration::ZERO, "the host went away".to_owned()),
                Err(error @ (PortError::HostAway { .. } | PortError::Busy { .. })) => {
                    (Duration::ZERO, chain(&error))
                }
                Err(error) => {
                    port = None;
                    (ERROR_LOOK, chain(&error))
                }
            };
            if self.words.send(HostWord::Away(why)).await.is_err() {
                return;
            }
            sleep(again).await;
        }
    }

    /// Connects, and passes lines and words until the host goes away.
    async fn talk(&self, port: &mut Option<Port>) -> Result<(), PortError> {
        let until = Instant::now() + PATIENCE;
        let port = match port {
            Some(port) => {
                port.reconnect(until).await?;
                port
            }
            None => {
                let device = find(self.device.as_deref(), &Places::default())?;
                let port = port.insert(Port::new(Ways { broker: None, device }, self.trace));
                port.connect(until).await?;
                port
            }
        };
        let (sender, mut lines) = mpsc::channel::<Vec<u8>>(LINES);
        if self.words.send(HostWord::There(sender)).await.is_err() {
            return Ok(());
        }
        let (mut decoder, mut out, mut buffer) = (Decoder::default(), Vec::new(), [0; 4096]);
        loop {
            let event = tokio::select! {
                line = lines.recv(), if out.is_empty() => match line {
                    Some(line) => { out = line; continue }
                    None => return Ok(()),
                },
                event = port.exchange(&mut out, &mut buffer) => event?,
            };
            match event {
                Event::Silence => {}
                Event::Away => return Ok(()),
                Event::Bytes(count) => {
                    let mut bytes = buffer.get(..count).unwrap_or_default();
                    while let Some(frame) = decoder.push(&mut bytes) {
                        if self.words.send(HostWord::Said(frame)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
}
