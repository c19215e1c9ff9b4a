//! Who in this guest may ask what.
//!
//! In:  `broker.toml`, the user and group of a program as the kernel tells them. Out: its [`Rights`].
//!
//! Invariant: root may ask everything, since root could open the port itself; whom no rule names may ask nothing. A file
//! with any fault in it is not used at all.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fence_vmchannel_protocol::Ask;
use nix::unistd::geteuid;
use serde::Deserialize;

use super::accounts::Accounts;

/// What a rule may allow, by its word on the wire. `hello` and `whoami` come with any of them.
const OPS: [&str; 8] = ["monitor", "list", "status", "host-status", "explain", "off", "on", "reboot"];

/// Why the file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PolicyError {
    #[error("cannot read {}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} can be written by others than its owner, or its owner is not root: chown root, chmod go-w", .0.display())]
    Open(PathBuf),
    #[error("{} is not right", .path.display())]
    Form { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{}: {what}", .path.display())]
    Rule { path: PathBuf, what: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    allow: Vec<RuleFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    user: Option<Account>,
    group: Option<Account>,
    ops: Vec<String>,
    #[serde(default)]
    first: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a user or group is a name or a number")]
enum Account {
    Number(u32),
    Name(String),
}

/// Whom a rule is about.
#[derive(Debug, PartialEq, Eq)]
enum Who {
    Everyone,
    User(u32),
    Group { gid: u32, members: Vec<u32> },
}

#[derive(Debug)]
struct Rule {
    who: Who,
    ops: Vec<&'static str>,
    first: bool,
}

/// The rules of the file.
#[derive(Debug, Default)]
pub(super) struct Policy {
    rules: Vec<Rule>,
}

/// What one program may ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rights {
    /// The program's user.
    pub(super) user: u32,
    /// Served before the others.
    pub(super) first: bool,
    everything: bool,
    ops: Vec<&'static str>,
}

impl Rights {
    pub(super) fn permit(&self, ask: &Ask) -> bool {
        match ask {
            Ask::Hello | Ask::Whoami => self.any(),
            Ask::Monitor
            | Ask::List
            | Ask::HostStatus
            | Ask::Explain(_)
            | Ask::Status(_)
            | Ask::Power(..) => self.everything || self.ops.contains(&ask.op()),
        }
    }

    /// Whether there is anything that it may ask.
    pub(super) fn any(&self) -> bool {
        self.everything || !self.ops.is_empty()
    }

    /// The rights in words.
    pub(super) fn words(&self) -> String {
        match (self.everything, self.ops.as_slice()) {
            (true, _) => "everything".to_owned(),
            (false, []) => "nothing".to_owned(),
            (false, ops) => ops.join(", "),
        }
    }
}

impl Policy {
    /// The rules in the file; none if there is no file.
    pub(super) fn read(path: &Path, accounts: &Accounts) -> Result<Self, PolicyError> {
        let unreadable = |source| PolicyError::Unreadable { path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => file.map_err(unreadable)?,
        };
        let about: fs::Metadata = file.metadata().map_err(unreadable)?;
        let is_ours = about.uid() == 0 || about.uid() == geteuid().as_raw();
        if !is_ours || about.mode() & 0o022 != 0 {
            return Err(PolicyError::Open(path.to_owned()));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unreadable)?;
        let file: PolicyFile = toml::from_str(&text)
            .map_err(|source| PolicyError::Form { path: path.to_owned(), source: Box::new(source) })?;
        let rules = file.allow.into_iter().map(|rule| rule.check(accounts)).collect::<Result<_, _>>();
        rules.map(|rules| Self { rules }).map_err(|what| PolicyError::Rule { path: path.to_owned(), what })
    }

    /// What a program of this user and group may ask; all rules that name it add up.
    pub(super) fn rights(&self, user: u32, group: u32) -> Rights {
        let is_root = user == 0;
        let ours = self.rules.iter().filter(|rule| match &rule.who {
            Who::Everyone => true,
            Who::User(uid) => *uid == user,
            Who::Group { gid, members } => *gid == group || members.contains(&user),
        });
        let none = Rights { user, first: is_root, everything: is_root, ops: Vec::new() };
        ours.fold(none, |mut rights, rule| {
            rights.first |= rule.first;
            rights.ops.extend(&rule.ops);
            rights.ops.sort_unstable();
            rights.ops.dedup();
            rights
        })
    }
}

impl RuleFile {
    fn check(self, accounts: &Accounts) -> Result<Rule, String> {
        let unknown = |what: &str, name: &str| {
            format!(
                "there is no {what} {name:?} in /etc; write its number, or make it and restart the broker"
            )
        };
        let who = match (self.user, self.group) {
            (Some(Account::Name(name)), None) if name == "*" => Who::Everyone,
            (Some(Account::Number(uid)), None) => Who::User(uid),
            (Some(Account::Name(name)), None) => {
                Who::User(accounts.user(&name).ok_or_else(|| unknown("user", &name))?)
            }
            (None, Some(group)) => {
                let gid = match group {
                    Account::Number(gid) => gid,
                    Account::Name(name) => accounts.group(&name).ok_or_else(|| unknown("group", &name))?,
                };
                Who::Group { gid, members: accounts.members(gid) }
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err("each [[allow]] names either a user or a group".to_owned());
            }
        };
        let ops = self.ops.iter().map(|op| op_of(op)).collect::<Result<Vec<_>, _>>()?.concat();
        if ops.is_empty() {
            return Err("an [[allow]] with empty ops allows nothing; leave it out".to_owned());
        }
        Ok(Rule { who, ops, first: self.first })
    }
}

fn op_of(word: &str) -> Result<Vec<&'static str>, String> {
    if word == "all" {
        return Ok(OPS.to_vec());
    }
    let found = OPS.into_iter().find(|op| *op == word);
    let wrong = || format!("{word:?} is none of the ops: all, {}", OPS.join(", "));
    found.map(|op| vec![op]).ok_or_else(wrong)
}

#[cfg(test)]
impl Rights {
    /// The rights of somebody who may only look.
    pub(super) fn looking() -> Self {
        Self { ops: vec!["list", "status"], ..Self::default() }
    }

    /// Everything, after those who go first.
    pub(super) fn ordering() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// The same rights of another user.
    pub(super) fn of(self, user: u32) -> Self {
        Self { user, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use fence_vmchannel_protocol::Power;

    use super::*;

    fn policy(text: &str) -> Result<Policy, PolicyError> {
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("passwd"), "ann:x:1001:100::/:/bin/sh\n").unwrap();
        fs::write(etc.path().join("group"), "watch:x:42:ann\n").unwrap();
        fs::write(etc.path().join("broker.toml"), text).unwrap();
        Policy::read(&etc.path().join("broker.toml"), &Accounts::read(etc.path()).unwrap())
    }

    fn off() -> Ask {
        Ask::Power(Power::Off, "web2".parse().unwrap())
    }

    #[test]
    fn without_a_file_root_may_ask_everything_and_others_nothing() {
        let policy = Policy::read(Path::new("/none"), &Accounts::default()).unwrap();

        let (root, other) = (policy.rights(0, 0), policy.rights(1001, 0));

        assert!(root.permit(&off()) && root.first);
        assert!(!other.any() && !other.permit(&Ask::Hello) && !other.first);
    }

    #[test]
    fn rules_add_up_by_user_group_and_membership() {
        let policy = policy(
            "[[allow]]\ngroup = 'watch'\nops = ['status', 'list']\n\
             [[allow]]\nuser = 1002\nops = ['off']\nfirst = true\n\
             [[allow]]\nuser = '*'\nops = ['monitor']\n",
        )
        .unwrap();

        let (ann, bob, other) = (policy.rights(1001, 100), policy.rights(1002, 42), policy.rights(7, 7));

        assert_eq!((ann.words().as_str(), ann.first), ("list, monitor, status", false));
        assert_eq!((bob.words().as_str(), bob.first), ("list, monitor, off, status", true));
        assert_eq!(other.words(), "monitor");
        assert!(!ann.permit(&off()) && bob.permit(&off()) && ann.permit(&Ask::Hello));
    }

    #[test]
    fn a_file_with_any_fault_is_told_and_not_used() {
        let cases = [
            ("[[allow]]\nuser = 'nobody-here'\nops = ['status']", "there is no user \"nobody-here\""),
            ("[[allow]]\ngroup = 'x'\nops = ['status']", "there is no group \"x\""),
            ("[[allow]]\nuser = 1\ngroup = 2\nops = ['status']", "either a user or a group"),
            ("[[allow]]\nops = ['status']", "either a user or a group"),
            ("[[allow]]\nuser = 1\nops = ['stat']", "\"stat\" is none of the ops"),
            ("[[allow]]\nuser = 1\nops = []", "allows nothing"),
            ("[[allow]]\nuser = -1\nops = ['all']", "is not right"),
            ("[[deny]]\nuser = 1", "is not right"),
        ];
        for (text, says) in cases {
            let error = policy(text).unwrap_err().to_string();

            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_example_of_the_handbook_is_taken() {
        let handbook = include_str!("../../../docs/broker.md");
        let (_, example) = handbook.split_once("```toml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("passwd"), "hacluster:x:90:90::/:/bin/false\n").unwrap();
        fs::write(etc.path().join("group"), "monitoring:x:42:\n").unwrap();
        fs::write(etc.path().join("broker.toml"), example).unwrap();

        let policy = Policy::read(&etc.path().join("broker.toml"), &Accounts::read(etc.path()).unwrap());

        let policy = policy.unwrap();
        assert_eq!(policy.rights(7, 42).words(), "list, monitor, status");
        assert!(policy.rights(90, 90).permit(&off()) && policy.rights(90, 90).first);
    }

    #[test]
    fn a_file_that_others_may_write_is_not_used() {
        let etc = tempfile::tempdir().unwrap();
        let path = etc.path().join("broker.toml");
        fs::write(&path, "[[allow]]\nuser = '*'\nops = ['all']\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();

        let read = Policy::read(&path, &Accounts::default());

        assert!(matches!(read, Err(PolicyError::Open(_))));
    }
}
