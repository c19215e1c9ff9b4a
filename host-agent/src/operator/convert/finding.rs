//! What the conversion has to say of one line of the old configuration.
//!
//! In:  a place and words. Out: [`Finding`]s, in the order of the files.
//!
//! Invariant: nothing of the old configuration is passed over in silence.

use serde::Serialize;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// It has its equal in the new files.
    Converted,
    /// It is not needed any more.
    NotNeeded,
    /// It has no equal: the administrator has to know.
    NotConverted,
    /// It was, or is, a danger.
    Unsafe,
    /// The administrator has to choose.
    Choose,
}

impl Kind {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Converted => "converted",
            Self::NotNeeded => "not needed",
            Self::NotConverted => "NOT CONVERTED",
            Self::Unsafe => "UNSAFE BEFORE",
            Self::Choose => "CHOOSE",
        }
    }
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Place {
    /// Which input, in the order in which they are read.
    #[serde(skip)]
    pub(super) rank: u8,
    /// Its name.
    pub(super) file: String,
    /// The line; 0 for the file as a whole.
    pub(super) line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// All remarks of one input.
#[derive(Debug)]
pub(super) struct Remarks {
    rank: u8,
    file: String,
    pub(super) findings: Vec<Finding>,
}

impl Remarks {
    pub(super) fn on(rank: u8, file: &str) -> Self {
        Self { rank, file: file.to_owned(), findings: Vec::new() }
    }

    pub(super) fn place(&self, line: usize) -> Place {
        Place { rank: self.rank, file: self.file.clone(), line }
    }

    pub(super) fn say(&mut self, line: usize, kind: Kind, text: impl Into<String>) {
        self.findings.push(Finding { place: self.place(line), kind, text: text.into() });
    }
}
