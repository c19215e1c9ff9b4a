//! As what the program was called: by its own name, or as one of the agents that it can take the place of.
//!
//! In:  the program's name and its first arguments. Out: a [`Personality`], and the arguments that are left.
//!
//! Invariant: only the whole names `fence_virt` and `fence_xvm` change anything.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::OptionsError;

/// Whose options are read and whose words are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Personality {
    /// This project's own agent.
    #[default]
    Vmchannel,
    /// `fence_virt`: serial port, guestfwd, TCP, vsock.
    Virt,
    /// `fence_xvm`: multicast.
    Xvm,
}

impl Personality {
    /// Every personality.
    pub const ALL: [Self; 3] = [Self::Vmchannel, Self::Virt, Self::Xvm];

    /// The name under which it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vmchannel => "fence_vmchannel",
            Self::Virt => "fence_virt",
            Self::Xvm => "fence_xvm",
        }
    }

    fn named(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|personality| name == personality.name())
    }

    /// Takes a leading `--compat NAME` (or `--compat=NAME`) out of the arguments; without it, argv\[0\] decides.
    pub(super) fn take(arguments: &mut Vec<OsString>) -> Result<Self, OptionsError> {
        let called =
            arguments.first().and_then(|program| Path::new(program).file_name()).and_then(Self::named);
        let first =
            arguments.get(1).map(|argument| argument.to_string_lossy().into_owned()).unwrap_or_default();
        let (name, words) = match first.split_once('=') {
            Some(("--compat", name)) => (OsString::from(name), 1),
            _ if first == "--compat" => (arguments.get(2).cloned().unwrap_or_default(), 2),
            _ => return Ok(called.unwrap_or_default()),
        };
        let chosen = Self::named(&name).ok_or_else(|| OptionsError::Compat { name: name.clone() })?;
        arguments.drain(1..=words);
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(words: &[&str]) -> (Option<Personality>, Vec<String>) {
        let mut arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        let personality = Personality::take(&mut arguments).ok();
        (personality, arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn the_program_s_name_decides() {
        assert_eq!(taken(&["/usr/sbin/fence_xvm", "-o", "list"]).0, Some(Personality::Xvm));
        assert_eq!(taken(&["fence_virt"]).0, Some(Personality::Virt));
        assert_eq!(taken(&["fence_virt2"]).0, Some(Personality::Vmchannel));
        assert_eq!(taken(&[]).0, Some(Personality::Vmchannel));
    }

    #[test]
    fn compat_wins_over_the_name_and_is_taken_away() {
        let rest = vec!["fence_virt".to_owned(), "-o".to_owned()];

        assert_eq!(
            taken(&["fence_virt", "--compat", "fence_xvm", "-o"]),
            (Some(Personality::Xvm), rest.clone())
        );
        assert_eq!(
            taken(&["fence_virt", "--compat=fence_vmchannel", "-o"]),
            (Some(Personality::Vmchannel), rest)
        );
    }

    #[test]
    fn another_name_for_compat_is_an_error() {
        assert_eq!(taken(&["fence_vmchannel", "--compat", "fence_ilo"]).0, None);
        assert_eq!(taken(&["fence_vmchannel", "--compat"]).0, None);
    }
}
