//! Answers that are still to come.
//!
//! In:  futures of lines. Out: those lines, as they come.
//!
//! Invariant: at most [`MOST`] requests of one guest wait at a time.

use std::collections::HashSet;

use fence_vmchannel_protocol::{Reply, RequestId, encode_line};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::orders::Taken;

/// How many requests of one guest may wait.
const MOST: usize = 8;

/// One answer that is still to come.
pub(super) enum Pending {
    /// An order that runs, or is not accepted yet.
    Order(RequestId, BoxFuture<'static, Taken>),
    /// One reply.
    Reply(RequestId, BoxFuture<'static, Reply>),
    /// Lines that wait for room.
    Lines(RequestId, std::vec::IntoIter<Vec<u8>>),
    /// An accepted order.
    Taken(RequestId, Taken),
}

/// A line, the request it belongs to, and what of its answer is still to come.
type Said = (Vec<u8>, RequestId, Option<Pending>);

/// All answers of one guest that are still to come.
#[derive(Default)]
pub(super) struct Waiting {
    ids: HashSet<RequestId>,
    pending: FuturesUnordered<BoxFuture<'static, Said>>,
}

impl Waiting {
    pub(super) fn has(&self, id: RequestId) -> bool {
        self.ids.contains(&id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.ids.len() >= MOST
    }

    pub(super) fn order(&mut self, pending: Pending) -> Option<Reply> {
        self.ids.insert(pending.id());
        self.pending.push(Box::pin(pending.next()));
        None
    }

    pub(super) fn lines(&mut self, id: RequestId, lines: Vec<Vec<u8>>) -> Option<Reply> {
        self.order(Pending::Lines(id, lines.into_iter()))
    }

    /// The next line of any answer; waits for ever while there is none to come. Cancel safe.
    pub(super) async fn next_line(&mut self) -> Vec<u8> {
        let Some((line, id, rest)) = self.pending.next().await else { return std::future::pending().await };
        match rest {
            Some(rest) => self.pending.push(Box::pin(rest.next())),
            None => {
                self.ids.remove(&id);
            }
        }
        line
    }
}

impl Pending {
    fn id(&self) -> RequestId {
        match self {
            Self::Order(id, _) | Self::Reply(id, _) | Self::Lines(id, _) | Self::Taken(id, _) => *id,
        }
    }

    async fn next(self) -> Said {
        match self {
            Self::Order(id, accepted) => next_of_order(id, accepted.await).await,
            Self::Taken(id, taken) => next_of_order(id, taken).await,
            Self::Reply(id, reply) => (line_of(&reply.await), id, None),
            Self::Lines(id, mut lines) => {
                let line = lines.next().unwrap_or_default();
                let rest = (lines.len() > 0).then_some(Self::Lines(id, lines));
                (line, id, rest)
            }
        }
    }
}

async fn next_of_order(id: RequestId, mut taken: Taken) -> Said {
    let reply = taken.next(id).await;
    let rest = (!reply.is_final()).then_some(Pending::Taken(id, taken));
    (line_of(&reply), id, rest)
}

fn line_of(reply: &Reply) -> Vec<u8> {
    encode_line(reply).unwrap_or_else(|error| {
        tracing::error!(%error, id = %reply.id, "a reply that cannot be written is our bug");
        Vec::new()
    })
}
