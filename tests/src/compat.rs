//! Who can speak to whom: Debian's clients and ours, our agent and Debian's fence_virtd, in every way there is.
//!
//! In:  [`Combination`]s. Out: their [`Row`]s, from real programs that stop and start a real QEMU; the table of
//!      `docs/compatibility.md`.
//!
//! Invariant: a cell says `yes` only if the client said so and the target's process did what was asked; for vsock, where there
//! are no processes, if the server says the same when it is asked again.

mod axes;
mod commands;
mod page;
mod stage;
mod trial;
mod vsock;

pub use axes::{Action, Client, Combination, Server, Way};
pub use page::{page, read};
pub use stage::run;

/// The results of one combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Who spoke to whom, and how.
    pub combination: Combination,
    /// What came of each action, in the order of [`Action::ALL`]: `yes`, or what happened instead.
    pub cells: Vec<String>,
}
