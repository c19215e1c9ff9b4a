//! The guest's users and groups.
//!
//! In:  `/etc/passwd` and `/etc/group`. Out: numbers for names.
//!
//! Invariant: no library is asked: a static program cannot load the modules of the name service. Users of a directory
//! service are named by their numbers.

use std::path::Path;
use std::{fs, io};

/// The files' lines.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    pub(super) fn read(etc: &Path) -> io::Result<Self> {
        let read = |name| match fs::read_to_string(etc.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            text => text,
        };
        Ok(Self { passwd: read("passwd")?, group: read("group")? })
    }

    /// The number of a user.
    pub(super) fn user(&self, name: &str) -> Option<u32> {
        number(&self.passwd, name)
    }

    /// The number of a group.
    pub(super) fn group(&self, name: &str) -> Option<u32> {
        number(&self.group, name)
    }

    /// The users that the group's line names as its members.
    pub(super) fn members(&self, group: u32) -> Vec<u32> {
        let group = group.to_string();
        let lines = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let ours = lines.filter(|fields| fields.get(2).is_some_and(|gid| *gid == group));
        ours.flat_map(|fields| fields.get(3).copied().unwrap_or_default().split(','))
            .filter_map(|name| self.user(name))
            .collect()
    }
}

fn number(lines: &str, name: &str) -> Option<u32> {
    let mut lines = lines.lines().map(|line| line.split(':'));
    let mut fields = lines.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_groups_have_members() {
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("passwd"), "root:x:0:0:root:/root:/bin/sh\nann:x:1001:100::/:/bin/sh\n")
            .unwrap();
        fs::write(etc.path().join("group"), "root:x:0:\nwatch:x:42:ann,gone\n").unwrap();

        let accounts = Accounts::read(etc.path()).unwrap();

        assert_eq!((accounts.user("ann"), accounts.user("bob"), accounts.user("")), (Some(1001), None, None));
        assert_eq!((accounts.group("watch"), accounts.members(42)), (Some(42), vec![1001]));
        assert!(accounts.members(0).is_empty());
    }
}
