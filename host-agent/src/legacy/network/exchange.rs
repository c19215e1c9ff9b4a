//! The conversation over a connection: challenges both ways, the answer.
//!
//! In:  a connection, and a request that was taken. Out: the code, or the list.
//!
//! Invariant: a challenge of our own is never answered, whoever sends it back; nothing is told before the client has answered
//! ours; every wait has a deadline.

use std::io;
use std::time::Duration;

use fence_vmchannel_protocol::legacy::{CHALLENGE_BYTES, Challenge, Code, Hash, HostRecord, SharedKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::gate::Gate;
use super::open::Stream;
use crate::legacy::question::Answer;

/// How long a client may take for everything before its answer.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long it may take to read the answer.
const READING: Duration = Duration::from_secs(10);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejected {
    /// The packet.
    #[error(transparent)]
    Packet(#[from] fence_vmchannel_protocol::legacy::NetworkError),
    /// It was sent before.
    #[error("it was taken before: a recorded packet is not taken again")]
    Replayed,
    /// Its challenge is one of ours.
    #[error("it sent a challenge of our own back to us")]
    Reflected,
    /// The client does not have the key.
    #[error(
        "it did not answer the challenge: it has another key, or another `auth` than the agent's settings"
    )]
    Unproven,
    /// It may not be called back there.
    #[error("it asks to be called back at {0}, which is not where it is, or not in callback-networks")]
    Callback(std::net::IpAddr),
    /// The guest that it is said to be does not run.
    #[error(transparent)]
    Stranger(#[from] crate::identity::Stranger),
    /// Too slow.
    #[error("it was too slow")]
    Slow,
    /// The connection.
    #[error(transparent)]
    Broken(#[from] io::Error),
}

impl From<tokio::time::error::Elapsed> for Rejected {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Slow
    }
}

/// Each side proves that it has the key. The client asks first: that is how it was made.
pub(super) async fn prove(gate: &Gate, stream: &mut dyn Stream) -> Result<(), Rejected> {
    let (auth, Some(key)) = (gate.auth(), gate.key()) else {
        return if gate.auth() == Hash::None { Ok(()) } else { Err(Rejected::Unproven) };
    };
    if auth == Hash::None {
        return Ok(());
    }
    answer_challenge(gate, stream, (auth, key)).await?;
    let mut challenge = [0; CHALLENGE_BYTES];
    getrandom::fill(&mut challenge).map_err(|error| io::Error::other(error.to_string()))?;
    let _issued = gate.issue(challenge);
    stream.write_all(&challenge).await?;
    let mut told = [0; CHALLENGE_BYTES];
    stream.read_exact(&mut told).await?;
    if auth.is_answer(key, &challenge, &told) { Ok(()) } else { Err(Rejected::Unproven) }
}

async fn answer_challenge(
    gate: &Gate,
    stream: &mut dyn Stream,
    (auth, key): (Hash, &SharedKey),
) -> Result<(), Rejected> {
    let mut challenge: Challenge = [0; CHALLENGE_BYTES];
    stream.read_exact(&mut challenge).await?;
    if gate.has_issued(&challenge) {
        return Err(Rejected::Reflected);
    }
    let answer = auth.answer(key, &challenge).ok_or(Rejected::Unproven)?;
    Ok(stream.write_all(&answer).await?)
}

/// Tells the answer and ends the conversation.
pub(super) async fn tell(stream: &mut dyn Stream, answer: &Answer) -> Result<(), Rejected> {
    let bytes = match answer {
        Answer::Code(code) => vec![code.byte()],
        Answer::List(items) => {
            let records = items.iter().flat_map(HostRecord::encode);
            [Code::List.byte()]
                .into_iter()
                .chain(records)
                .chain(HostRecord::END)
                .chain([Code::Success.byte()])
                .collect()
        }
    };
    timeout(READING, stream.write_all(&bytes)).await??;
    Ok(timeout(READING, stream.shutdown()).await??)
}
