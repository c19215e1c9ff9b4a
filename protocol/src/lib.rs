//! The words that guest and host speak: frames, messages, verdicts, signing, hook notes.
//!
//! In:  bytes, in any chunks. Out: typed messages; and the way back.
//!
//! Invariant: nothing here does I/O, reads a clock or panics on any input.

#![forbid(unsafe_code)]

mod decoder;
mod host_status;
pub mod legacy;
pub mod limits;
mod line;
pub mod note;
mod reply;
mod reply_wire;
mod request;
mod seal;
pub mod signing;
mod words;

pub use decoder::{Decoder, Frame};
pub use host_status::{
    AgentHealth, Attribute, AttributeName, HostStatus, LibvirtHealth, PlainText, TextError,
};
pub use line::{LineError, SignedLine, encode_json, encode_line};
pub use reply::{
    Body, Evidence, GuestIdentity, Hello, Item, Phase, PowerState, Reason, Reply, Ruling, Verdict,
};
pub use reply_wire::ReplyError;
pub use request::{Ask, Method, Power, Request, RequestError};
pub use seal::Seal;
pub use words::{Name, RequestId, Target, WordError};

/// The protocol's version, as `hello` tells it.
pub const PROTOCOL: u32 = 2;

/// The name of the virtio-serial port that belongs to this program.
pub const PORT_NAME: &str = "org.fence_vmchannel.0";

/// The namespace of the domain metadata element that carries the cluster label.
pub const METADATA_NAMESPACE: &str = "urn:fence-vmchannel:1";
