//! `hook install|remove|status`.
//!
//! In:  the operator's wish. Out: what [`crate::hooks`] found or did.

use std::io::Write;

use super::Failure;
use super::cli::HookCommand;

/// Runs the command; the exit code.
pub fn hook(_command: HookCommand, _json: bool, _out: &mut dyn Write) -> Result<u8, Failure> {
    Err(Failure::Agent("this build cannot install the hook".into()))
}
