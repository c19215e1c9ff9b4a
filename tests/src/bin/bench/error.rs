//! Why there are no figures.

use std::fmt::{self, Display};

use fence_vmchannel_tests::LabError;

pub(crate) type Result<T> = std::result::Result<T, BenchError>;

/// What went wrong; its `Debug` is its text, because `main` returns it.
#[derive(thiserror::Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("libvirt: {}", .0.message())]
    Libvirt(#[from] virt::error::Error),
    #[error(transparent)]
    System(#[from] std::io::Error),
    #[error("{0}")]
    Unexpected(String),
}

impl fmt::Debug for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// What was measured is not what was to be measured.
pub(crate) fn unexpected(what: impl Display) -> BenchError {
    BenchError::Unexpected(what.to_string())
}
