//! Who will own a domain's socket: the user that its QEMU runs as.
//!
//! In:  the DAC label of the domain, or the text of `/etc/passwd`.
//! Out: an [`Owner`].
//!
//! Invariant: no name service is asked, since it may hang; libvirt sets the owner itself at the start anyway.

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The users that distributions run QEMU as.
const QEMU_USERS: [&str; 2] = ["libvirt-qemu", "qemu"];

impl Owner {
    /// From libvirt's DAC label, `+64055:+107`.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        let (uid, gid) = label.trim().split_once(':')?;
        let number = |word: &str| word.strip_prefix('+').unwrap_or(word).parse().ok();
        Some(Self { uid: number(uid)?, gid: number(gid)? })
    }

    /// From the system's users, as `/etc/passwd` lists them.
    #[must_use]
    pub fn from_passwd(passwd: &str) -> Option<Self> {
        QEMU_USERS.iter().find_map(|user| passwd.lines().find_map(|line| Self::of_user(line, user)))
    }

    fn of_user(line: &str, user: &str) -> Option<Self> {
        let mut fields = line.split(':');
        if fields.next() != Some(user) {
            return None;
        }
        let mut numbers = fields.skip(1); // the password
        Some(Self { uid: numbers.next()?.parse().ok()?, gid: numbers.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::Owner;

    #[test]
    fn the_label_says_who_owns_the_socket() {
        assert_eq!(Owner::from_label("+64055:+107"), Some(Owner { uid: 64055, gid: 107 }));
        assert_eq!(Owner::from_label("0:0\n"), Some(Owner { uid: 0, gid: 0 }));
        assert_eq!(Owner::from_label("qemu:qemu"), None);
        assert_eq!(Owner::from_label("+-1:+99999999999"), None);
    }

    #[test]
    fn without_a_label_it_is_the_systems_qemu_user() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbad\nqemu:x:107:107::/:/x\nlibvirt-qemu:x:64055:108::/:/x\n";

        assert_eq!(Owner::from_passwd(passwd), Some(Owner { uid: 64055, gid: 108 }));
        assert_eq!(Owner::from_passwd("root:x:0:0::/root:/bin/sh\n"), None);
        assert_eq!(Owner::from_passwd("qemu:x:107\n"), None);
    }
}
