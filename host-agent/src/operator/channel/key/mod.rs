//! `channel key add|remove|list`: gives guests keys to sign their requests with.
//!
//! In:  a domain, a key's name, what it may do. Out: a key file and an entry in a policy file; how to put the key into the guest.
//!
//! Invariant: a secret is printed only where that was asked for; a guest whose last key is taken away does not become open by
//! that; what a running agent does not take is no success.

mod entry;
mod listing;
mod report;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fence_vmchannel_protocol::signing::{KeyError, KeyId};

use super::machine::{Host, within};
use super::plan::Known;
use super::{LibvirtError, PATIENCE};
use crate::config::Config;
use crate::policy::{Action, Policy, read_key_file};
use entry::{Entry, KeysFile};
pub use listing::{ListReport, list};
pub use report::{AddReport, RemoveReport};

/// Bytes of randomness in a new key, written as hex digits so that it can be pasted on a console.
const KEY_BYTES: usize = 32;

const ADD_ENDING: &str = "\
Examples:
  fence-vmchanneld channel key add web1 cluster                           for the cluster software
  fence-vmchanneld channel key add web1 monitoring --actions status,list  for a program that only looks
  fence-vmchanneld channel key add web1 cluster --from-file web1.key      the same key on a second host

From the first key on, whatever web1 asks unsigned is refused.";

/// What to do with keys.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum KeyCommand {
    /// Make a key for a guest; from its first key on, only signed requests of it may act.
    #[command(after_help = ADD_ENDING)]
    Add(KeyAddArgs),
    /// Take a key away from a guest.
    Remove(KeyRemoveArgs),
    /// List the keys of guests, and what is wrong with them; never the secrets.
    List {
        /// Only the keys that these may use, by name or UUID [default: all keys].
        #[arg(value_name = "DOMAIN")]
        domains: Vec<String>,
    },
}

/// How to add a key.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct KeyAddArgs {
    /// The guest, by name or UUID.
    pub domain: String,
    /// The key's name: 1 to 64 of A-Z a-z 0-9 _ . -
    pub key: String,
    /// What may be asked with it: status, list, off, on, reboot, host-status [default: all that the guest may].
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',')]
    pub actions: Vec<Action>,
    /// Take the key in this file, for example one of another host [default: make a new one].
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// Print the secret, to be pasted on the guest's console.
    #[arg(long)]
    pub show_secret: bool,
}

/// How to take a key away.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct KeyRemoveArgs {
    /// The guest, by name or UUID.
    pub domain: String,
    /// The key's name.
    pub key: String,
    /// If it is the last one, let the guest act unsigned again [default: it may do nothing then].
    #[arg(long)]
    pub allow_unsigned: bool,
}

/// Why no key was added or taken away.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// libvirt.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// It cannot be a key's name.
    #[error("{key:?}: {source}")]
    Name {
        /// What was typed.
        key: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// There is one of this name.
    #[error("{domain} has a key {key} already: choose another name, or remove that one first")]
    Exists {
        /// The guest.
        domain: String,
        /// The key.
        key: String,
    },
    /// There is none of this name.
    #[error("{file} lists no key {key} of {domain}: `fence-vmchanneld channel key list {domain}` shows where keys are listed", file = .file.display())]
    Missing {
        /// The guest.
        domain: String,
        /// The key.
        key: String,
        /// Where this command lists keys.
        file: PathBuf,
    },
    /// Somebody else wrote the file.
    #[error("{} was changed by hand ({text}): change it by hand again, or move it away", .file.display())]
    ByHand {
        /// The file.
        file: PathBuf,
        /// What is not as this command writes it.
        text: String,
    },
    /// The key to be taken is none.
    #[error("{}: {text}", .file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// The system.
    #[error("{}: {source}; this has to be run as root", .file.display())]
    System {
        /// What was to be read or written.
        file: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
}

type Result<T> = std::result::Result<T, KeyCommandError>;

/// `channel key add`.
///
/// # Errors
/// Why it was not done; then nothing is listed.
pub fn add(config: &Config, args: &KeyAddArgs) -> Result<AddReport> {
    let id: KeyId =
        args.key.parse().map_err(|source| KeyCommandError::Name { key: args.key.clone(), source })?;
    let guest = guest(config, &args.domain)?;
    let mut listed = KeysFile::read(&config.policy_dir, guest.uuid)?;
    if listed.keys.iter().any(|entry| entry.id == args.key) {
        return Err(KeyCommandError::Exists { domain: guest.name, key: args.key.clone() });
    }
    let secret = match &args.from_file {
        Some(file) => {
            let no_key = |text| KeyCommandError::NoKey { file: file.clone(), text };
            read_key_file(file).map_err(no_key)?;
            fs::read(file).map_err(in_system(file))?
        }
        None => new_secret(&config.policy_dir)?,
    };
    let is_first = listed.keys.is_empty();
    let relative = format!("keys/{}.{id}.key", guest.uuid);
    let file = config.policy_dir.join(&relative);
    write_secret(&file, &secret)?;
    let actions: Vec<String> = args.actions.iter().map(ToString::to_string).collect();
    let actions = (!actions.is_empty()).then_some(actions);
    listed.keys.push(Entry { id: args.key.clone(), file: relative, actions: actions.clone() });
    listed.write(&guest.name)?;
    let text = String::from_utf8(secret).ok().map(|text| text.trim_end().to_owned());
    let secret = text.filter(|text| args.show_secret && !text.contains(char::is_control));
    let (domain, uuid, key, policy) = (guest.name, guest.uuid, args.key.clone(), listed.path);
    let problems = problems(config);
    Ok(AddReport { domain, uuid, key, actions, file, policy, is_first, secret, problems })
}

/// `channel key remove`.
///
/// # Errors
/// Why it was not done.
pub fn remove(config: &Config, args: &KeyRemoveArgs) -> Result<RemoveReport> {
    let guest = guest(config, &args.domain)?;
    let mut listed = KeysFile::read(&config.policy_dir, guest.uuid)?;
    let Some(place) = listed.keys.iter().position(|entry| entry.id == args.key) else {
        let (domain, key, file) = (guest.name, args.key.clone(), listed.path);
        return Err(KeyCommandError::Missing { domain, key, file });
    };
    let file = config.policy_dir.join(listed.keys.remove(place).file);
    let left = listed.keys.len();
    if left == 0 && args.allow_unsigned {
        fs::remove_file(&listed.path).map_err(in_system(&listed.path))?;
    } else {
        listed.write(&guest.name)?;
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(in_system(&file)(error)),
        _gone => {}
    }
    let (domain, uuid, key, policy) = (guest.name, guest.uuid, args.key.clone(), listed.path);
    let (unsigned, problems) = (left == 0 && args.allow_unsigned, problems(config));
    Ok(RemoveReport { domain, uuid, key, left, unsigned, policy, problems })
}

/// Why a running agent does not take what was written: it takes all files or none.
fn problems(config: &Config) -> Vec<String> {
    Policy::load(&config.policy_dir).problems.iter().map(ToString::to_string).collect()
}

/// The domain of this name or UUID.
fn guest(config: &Config, word: &str) -> Result<Known> {
    let (uri, words) = (config.libvirt_uri.clone(), [word.to_owned()]);
    let unknown = || LibvirtError::Failed(format!("it knows no domain {word:?}"));
    let known = within(PATIENCE, move || {
        Ok::<_, LibvirtError>(Host::open(&uri, false)?.machines(&words)?.pop().map(|machine| machine.known))
    })?;
    Ok(known.ok_or_else(unknown)?)
}

fn new_secret(directory: &Path) -> Result<Vec<u8>> {
    let mut bits = [0; KEY_BYTES];
    getrandom::fill(&mut bits).map_err(|error| in_system(directory)(io::Error::other(error)))?;
    let digits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{digits}\n").into_bytes())
}

/// Writes a key file that only root can open. A file that is there and listed by nobody was left by a command that did not end.
fn write_secret(file: &Path, secret: &[u8]) -> Result<()> {
    if let Err(error) = fs::remove_file(file)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(in_system(file)(error));
    }
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = open.and_then(|mut open| open.write_all(secret).and_then(|()| open.sync_all()));
    written.map_err(in_system(file))
}

fn in_system(file: &Path) -> impl Fn(io::Error) -> KeyCommandError {
    move |source| KeyCommandError::System { file: file.to_owned(), source }
}

#[cfg(test)]
mod tests;
