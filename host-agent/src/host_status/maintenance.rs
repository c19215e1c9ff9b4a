//! The maintenance flag: a file in the runtime directory.
//!
//! In:  the operator's word. Out: the flag, for everybody who looks.
//!
//! Invariant: the file's being there is the flag, so the command works without the agent, the flag outlives the agent, and
//! it ends with the host's run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the flag is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance(PathBuf);

/// Why the flag is what it was, or is not known.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the flag {path}: {source}; be root, and let the agent run once", path = path.display())]
pub struct FlagError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Maintenance {
    /// The flag of the agent with this runtime directory.
    #[must_use]
    pub fn of(runtime_dir: &Path) -> Self {
        Self(runtime_dir.join("maintenance"))
    }

    /// Whether maintenance was announced.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn is_on(&self) -> Result<bool, FlagError> {
        match fs::symlink_metadata(&self.0) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.error("see", source)),
        }
    }

    /// Announces maintenance, or its end.
    ///
    /// # Errors
    /// When the file cannot be made or removed.
    pub fn set(&self, on: bool) -> Result<(), FlagError> {
        let done = match on {
            true => fs::OpenOptions::new().create(true).append(true).open(&self.0).map(drop),
            false => fs::remove_file(&self.0),
        };
        match done {
            Err(error) if !on && error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| self.error(if on { "make" } else { "remove" }, source)),
        }
    }

    fn error(&self, what: &'static str, source: io::Error) -> FlagError {
        FlagError { what, path: self.0.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_on_from_when_it_is_set_until_it_is_taken_back_however_often() {
        let directory = tempfile::tempdir().unwrap();
        let flag = Maintenance::of(directory.path());

        let mut seen = vec![flag.is_on().unwrap()];
        for on in [true, true, false, false] {
            flag.set(on).unwrap();
            seen.push(flag.is_on().unwrap());
        }

        assert_eq!(seen, [false, true, true, false, false]);
    }

    #[test]
    fn a_flag_that_cannot_be_set_is_told_with_its_path() {
        let flag = Maintenance::of(Path::new("/nonexistent/run"));

        let error = flag.set(true).unwrap_err().to_string();

        assert!(error.contains("/nonexistent/run/maintenance"), "{error}");
        assert!(!flag.is_on().unwrap());
    }
}
