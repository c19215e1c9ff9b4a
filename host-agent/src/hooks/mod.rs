//! What the libvirt hook tells the agent, and how the hook gets into its place.
//!
//! In:  notes in `RUNTIME/spool`, written by `fence-vmchannel-hook`; the operator's `hook` commands.
//! Out: [`Note`]s, which hasten the agent's own look at libvirt; reports on the installed hook.
//!
//! Invariant: nothing is concluded from a note alone, so a lost one, or a whole lost spool, costs time only.

mod daemon;
mod ear;
pub mod install;
mod noticed;
pub(crate) mod place;
mod reading;
mod spool;
pub(crate) mod watch;

pub use fence_vmchannel_protocol::note::{DomainXml, Note, Operation};
pub use spool::Spool;
