//! Who may do what to whom.

mod permit;

pub use permit::Permit;
