//! The lines of the journal.
//!
//! In:  a [`Record`], or the bytes of a journal. Out: the other one.
//!
//! Invariant: a line that was not written whole, or was changed since, is none. Each has its CRC-32C before it:
//! `XXXXXXXX {"record":...}\n`.

use std::io;
use std::time::Duration;

use crc::{CRC_32_ISCSI, Crc};
use fence_vmchannel_protocol::{Body, Evidence, Reply, RequestId, Verdict};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::arbiter::OrderNumber;
use crate::domain::InstanceId;
use crate::hypervisor::Recipe;
use crate::policy::Permit;

const CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A guest's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asked {
    /// The guest.
    pub guest: Uuid,
    /// The id of its request.
    #[serde(serialize_with = "display", deserialize_with = "parsed")]
    pub request: RequestId,
}

/// An order that is about to act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Acting {
    /// Its number.
    pub order: OrderNumber,
    /// What it may do.
    pub permit: Permit,
    /// Who waits for it.
    pub askers: Vec<Asked>,
    /// When it was accepted, since the host's boot.
    #[serde(serialize_with = "millis", deserialize_with = "from_millis")]
    pub accepted: Duration,
    /// How long the most patient of its askers waits, since the host's boot.
    #[serde(serialize_with = "millis", deserialize_with = "from_millis")]
    pub until: Duration,
    /// The run of its target that is to be stopped.
    pub instance: Option<InstanceId>,
    /// Whether the target's definition outlives its run.
    pub persistent: bool,
    /// How to start the target again.
    pub recipe: Option<Recipe>,
}

/// The end of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// What everybody is told who had no other answer.
    #[serde(serialize_with = "reply", deserialize_with = "from_reply")]
    pub verdict: Verdict,
    /// The instance that was stopped or sent SIGKILL.
    pub stopped: Option<InstanceId>,
    /// When, since the host's boot.
    #[serde(serialize_with = "millis", deserialize_with = "from_millis")]
    pub at: Duration,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub enum Record {
    /// The boot of the host that the following lines belong to.
    Host {
        /// The kernel's `boot_id`.
        boot: String,
    },
    /// A domain is leaving for another host, or has moved there.
    Left {
        /// The domain.
        domain: Uuid,
    },
    /// It stayed, runs here again, or is known no more.
    Back {
        /// The domain.
        domain: Uuid,
    },
    /// An order is about to act.
    Acting(Box<Acting>),
    /// One more request waits for it.
    Joined {
        /// The order.
        order: OrderNumber,
        /// The request.
        asked: Asked,
        /// How long its asker waits, since the host's boot.
        #[serde(serialize_with = "millis", deserialize_with = "from_millis")]
        until: Duration,
    },
    /// Its target is proven off; its start comes next.
    Off {
        /// The order.
        order: OrderNumber,
        /// The proof.
        evidence: Evidence,
    },
    /// One request had its answer before the order's end.
    Answered {
        /// The order.
        order: OrderNumber,
        /// The request.
        asked: Asked,
        /// The answer.
        #[serde(serialize_with = "reply", deserialize_with = "from_reply")]
        verdict: Verdict,
    },
    /// The order's end.
    Ended {
        /// The order.
        order: OrderNumber,
        /// How it ended.
        ended: Ended,
    },
}

impl Record {
    /// Its line, with the newline.
    pub fn to_line(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{:08x} {json}\n", CRC_32C.checksum(json.as_bytes())).into_bytes())
    }

    /// The record of a line without its newline, if it is a whole one.
    #[must_use]
    pub fn from_line(line: &[u8]) -> Option<Self> {
        let (sum, json) = (line.get(..8)?, line.get(8..)?.strip_prefix(b" ")?);
        let is_hex = sum.iter().all(u8::is_ascii_hexdigit);
        let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
        let is_whole = is_hex && sum == CRC_32C.checksum(json);
        is_whole.then(|| serde_json::from_slice(json).ok()).flatten()
    }
}

/// The records of a journal, and how many of its lines are none.
#[must_use]
pub fn records(journal: &[u8]) -> (Vec<Record>, usize) {
    let lines = journal.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let read: Vec<_> = lines.map(Record::from_line).collect();
    let broken = read.iter().filter(|record| record.is_none()).count();
    (read.into_iter().flatten().collect(), broken)
}

fn display<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn from_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// A verdict is written as the reply that tells it.
fn reply<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    Reply { id: RequestId::NONE, body: Body::Verdict(verdict.clone()) }.serialize(serializer)
}

fn from_reply<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Verdict, D::Error> {
    let json = serde_json::Value::deserialize(deserializer)?.to_string();
    let reply = Reply::parse(json.as_bytes()).map_err(serde::de::Error::custom)?;
    match reply.body {
        Body::Verdict(verdict) => Ok(verdict),
        Body::Progress(..) | Body::Items(..) | Body::Hello(_) | Body::Whoami(_) | Body::HostStatus(_) => {
            Err(serde::de::Error::custom("a verdict is expected"))
        }
    }
}
