//! Which host carries out an order: the seam for other hosts.
//!
//! In:  a [`Permit`]. Out: where it goes.
//!
//! Invariant: an agent acts only on domains whose instance it holds. There is one host so far: this one.

use crate::policy::Permit;

/// Where an order is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// On this host.
    Here,
}

/// The host that owns the permit's target. The policy found the target among this host's own domains.
#[must_use]
pub fn route(_permit: &Permit) -> Route {
    Route::Here
}
