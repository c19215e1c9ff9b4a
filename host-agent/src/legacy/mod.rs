//! What is asked in the legacy dialects, answered by the same policy, arbiter and evidence as everything else.
//!
//! In:  a caller and its question. Out: one code, or a list.
//!
//! Invariant: success is said only where v2 says so with evidence; whatever is unknown, late or malformed is a failure.

mod code;
pub(crate) mod question;
