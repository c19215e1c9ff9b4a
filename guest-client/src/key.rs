//! The key that signs this guest's requests.
//!
//! In:  a file's path, and the key's name where it is not the file's. Out: a [`SigningKey`].
//!
//! Invariant: a key that another user could read or replace is refused before anything is asked.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fence_vmchannel_protocol::signing::{Key, KeyError, KeyId};

use crate::options::Transport;

/// The longest key, and a line ending.
const FILE_BYTES: u64 = 4096 + 2;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read the key {}, which must belong to whoever runs this", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The kernel's word.
        #[source]
        source: std::io::Error,
    },
    /// It is a directory, a pipe or the like.
    #[error("the key {} is no regular file; check --key-file", .file.display())]
    NoFile {
        /// The file.
        file: PathBuf,
    },
    /// Others may open it.
    #[error("the key {} may be used by others than its owner (mode {mode:04o}): chmod 0600 it", .file.display())]
    TooOpen {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("the key {} belongs to uid {owner}: it must belong to root or to whoever runs this", .file.display())]
    Owner {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// It is no key.
    #[error("{} is no key: {source}; `fence-vmchanneld channel key add` on the host makes one", .file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// Its name cannot be one.
    #[error("{name:?} cannot be the name of a key: {source}; give --key-id")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: KeyError,
    },
}

/// A key and its name on the host.
#[derive(Debug, Clone)]
pub struct SigningKey {
    pub(crate) id: KeyId,
    pub(crate) key: Arc<Key>,
}

impl SigningKey {
    /// The key of this transport, if it has one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of(transport: &Transport) -> Result<Option<Self>, KeyFileError> {
        let Transport::Channel { key_file: Some(file), key_id, .. } = transport else { return Ok(None) };
        Self::read(file, key_id.as_deref()).map(Some)
    }

    /// The key in this file. Without a name it has the file's name, up to its last dot.
    ///
    /// # Errors
    /// What is wrong with the file or the name.
    pub fn read(file: &Path, name: Option<&str>) -> Result<Self, KeyFileError> {
        let stem = || file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.map_or_else(stem, ToOwned::to_owned);
        let id = name.parse().map_err(|source| KeyFileError::Name { name, source })?;
        let content = content(file)?;
        let no_key = |source| KeyFileError::NoKey { file: file.to_owned(), source };
        Ok(Self { id, key: Arc::new(Key::of_file(&content).map_err(no_key)?) })
    }
}

fn content(path: &Path) -> Result<Vec<u8>, KeyFileError> {
    let (file, unreadable) =
        (path.to_owned(), |source| KeyFileError::Unreadable { file: path.into(), source });
    // Without O_NONBLOCK, a pipe in the key's place would hold a fencing up.
    let open = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let open = open.map_err(unreadable)?;
    let about = open.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(KeyFileError::NoFile { file });
    }
    if about.mode() & 0o077 != 0 {
        return Err(KeyFileError::TooOpen { file, mode: about.mode() & 0o7777 });
    }
    if ![0, nix::unistd::geteuid().as_raw()].contains(&about.uid()) {
        return Err(KeyFileError::Owner { file, owner: about.uid() });
    }
    let mut content = Vec::new();
    open.take(FILE_BYTES + 1).read_to_end(&mut content).map_err(unreadable)?;
    Ok(content)
}
