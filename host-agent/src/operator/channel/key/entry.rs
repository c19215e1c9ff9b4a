//! The policy file that lists one guest's keys, as `channel key` writes it.
//!
//! In:  the policy's directory and a domain's UUID. Out: its keys; and the way back, in one step.
//!
//! Invariant: a file that this command did not write in this form is left alone; from reading to writing no other command
//! changes it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;
use uuid::Uuid;

use super::{KeyCommandError, Result, in_system};
use crate::operator::table::plain;

/// The keys of one guest.
pub(super) struct KeysFile {
    pub(super) path: PathBuf,
    uuid: Uuid,
    pub(super) keys: Vec<Entry>,
    _lock: Flock<File>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    signed: [Signed; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    from: [String; 1],
    keys: Vec<Entry>,
}

/// One key. Its words are plain ASCII, so they can be written without escapes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) file: String,
    pub(super) actions: Option<Vec<String>>,
}

impl KeysFile {
    /// Makes the directory of the keys as well. Waits for other commands that have it.
    pub(super) fn read(policy_dir: &Path, uuid: Uuid) -> Result<Self> {
        let lock = lock(&policy_dir.join("keys"))?;
        let path = policy_dir.join(format!("keys-{uuid}.toml"));
        let by_hand = |text: String| KeyCommandError::ByHand { file: path.clone(), text };
        let keys = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(in_system(&path)(error)),
            Ok(text) => {
                let written = toml::from_str(&text).map_err(|error| by_hand(error.message().to_owned()))?;
                let Written { signed: [Signed { from: [from], keys }] } = written;
                if from != uuid.to_string() {
                    return Err(by_hand(format!("it is about {from:?}")));
                }
                if let Some(odd) = keys.iter().find(|entry| !entry.is_as_written(uuid)) {
                    return Err(by_hand(format!("key {:?} is not as it was written", odd.id)));
                }
                keys
            }
        };
        Ok(Self { path, uuid, keys, _lock: lock })
    }

    /// Writes it beside and puts it in place: the agent never reads half of it.
    pub(super) fn write(&self, domain: &str) -> Result<()> {
        let beside = self.path.with_extension("new");
        let written = File::create(&beside)
            .and_then(|mut file| file.write_all(self.text(domain).as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(in_system(&beside))?;
        fs::rename(&beside, &self.path).map_err(in_system(&self.path))
    }

    fn text(&self, domain: &str) -> String {
        let keys: String = self.keys.iter().map(|entry| format!("  {},\n", entry.text())).collect();
        format!(
            "# The keys of {}, written by `fence-vmchanneld channel key`. Rules of your own belong into another file.\n\
             [[signed]]\nfrom = [\"{}\"]\nkeys = [\n{keys}]\n",
            plain(domain),
            self.uuid
        )
    }
}

/// Let go by the kernel, however the command ends.
fn lock(directory: &Path) -> Result<Flock<File>> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(in_system(directory))?;
    let path = directory.join(".lock");
    let mut open = OpenOptions::new();
    open.create(true).truncate(false).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let file = open.open(&path).map_err(in_system(&path))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| in_system(&path)(error.into()))
}

impl Entry {
    fn is_as_written(&self, uuid: Uuid) -> bool {
        let word = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        self.file == format!("keys/{uuid}.{}.key", self.id)
            && self.id.parse::<fence_vmchannel_protocol::signing::KeyId>().is_ok()
            && self.actions.iter().flatten().all(word)
    }

    fn text(&self) -> String {
        let quoted = |words: &Vec<String>| {
            words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
        };
        let actions = self.actions.as_ref().map(|words| format!(", actions = [{}]", quoted(words)));
        format!("{{ id = \"{}\", file = \"{}\"{} }}", self.id, self.file, actions.unwrap_or_default())
    }
}
