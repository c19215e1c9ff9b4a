//! Text fields of 64 bytes, padded with NULs.
//!
//! Invariant: a name that fills its field has no end and is refused; after the first NUL nothing is read.

use super::StructError;
use crate::words::Target;

/// Bytes of a text field, with at least one NUL.
pub const TEXT_BYTES: usize = 64;

/// The target in a field; `None` in an empty one.
pub(super) fn target(field: &[u8]) -> Result<Option<Target>, StructError> {
    let end = field.iter().position(|&byte| byte == 0).ok_or(StructError::NoEnd)?;
    let text = field.get(..end).unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(text).map_err(|_| StructError::Text)?;
    text.parse().map(Some).map_err(|_| StructError::Text)
}

/// The field of a target.
pub(super) fn field_of(target: Option<&Target>) -> Result<[u8; TEXT_BYTES], StructError> {
    field(&target.map(ToString::to_string).unwrap_or_default())
}

/// The field of a text.
pub(super) fn field(text: &str) -> Result<[u8; TEXT_BYTES], StructError> {
    let mut field = [0; TEXT_BYTES];
    match field.get_mut(..text.len()) {
        Some(start) if text.len() < TEXT_BYTES => start.copy_from_slice(text.as_bytes()),
        _ => return Err(StructError::TooLong),
    }
    Ok(field)
}

/// The text of a field that others may have filled in any way, fit to be printed.
pub(super) fn printable(field: &[u8]) -> String {
    let text = field.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    text.chars()
        .map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter })
        .collect()
}
