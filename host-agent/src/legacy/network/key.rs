//! The shared key of the listeners.
//!
//! In:  the settings. Out: the key, and what the administrator is to know of it.
//!
//! Invariant: a key that others may read is not used.

use fence_vmchannel_protocol::legacy::SharedKey;

use crate::config::Legacy;
use crate::policy::key_file;

/// The shared key, if there is one.
///
/// # Errors
/// It cannot be read, others may read it, or it is empty.
pub(crate) fn read_key(legacy: &Legacy) -> Result<Option<SharedKey>, String> {
    let Some(file) = &legacy.key_file else { return Ok(None) };
    let told = |error: String| format!("legacy.key-file {}: {error}", file.display());
    let bytes = key_file::content(file).map_err(told)?;
    SharedKey::try_from(bytes).map(Some).map_err(|error| told(error.to_string()))
}

/// What makes this key a bad one.
pub(crate) fn key_warnings(legacy: &Legacy, key: &SharedKey) -> Vec<String> {
    const BETTER: &str = "make one of 512 bytes for host and guests: `dd if=/dev/urandom bs=512 count=1`";
    let short = key.is_weak().then_some("the shared key is shorter than 32 bytes: it can be guessed");
    let open = key.lets_answers_become_requests(legacy.auth).then_some(
        "the shared key has a length with which a request can be forged from an answer to a challenge, without the key",
    );
    [short, open].into_iter().flatten().map(|what| format!("legacy.key-file: {what}; {BETTER}")).collect()
}
