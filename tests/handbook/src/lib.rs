//! The handbook: man pages and completions, made from the programs' own command lines.
//!
//! In:  `docs/man/source/` (what people wrote), the option tables of the programs, the table of settings in
//! `docs/operations.md`. Out: `docs/man/` and `completions/`.
//!
//! Invariant: what a page says of an option is what the program itself says of it; the tests compare the files with what
//! would be made now.

mod markdown;
mod options;
mod page;
mod roff;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use fence_vmchannel_host_agent::operator::cli::CommandLine;

/// Why a page cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HandbookError {
    /// A file.
    #[error("{file}: {source}", file = file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A mark in a source that means nothing.
    #[error("{file}: there is nothing to put in the place of {mark}", file = file.display())]
    Mark {
        /// The source.
        file: PathBuf,
        /// The mark.
        mark: String,
    },
}

/// A file of the handbook.
#[derive(Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Below the root of the source tree.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// The command line of the host agent.
#[must_use]
pub fn agent() -> Command {
    CommandLine::command()
}

/// The command line of the guest client.
#[must_use]
pub fn client() -> Command {
    fence_vmchannel_guest_client::options::command()
}

/// All files, as they should be.
///
/// # Errors
/// A source that cannot be read, or has a mark that means nothing.
pub fn leaves(root: &Path) -> Result<Vec<Leaf>, HandbookError> {
    let mut leaves = page::pages(root)?;
    let shells =
        [(Shell::Bash, "bash", "", ""), (Shell::Zsh, "zsh", "_", ""), (Shell::Fish, "fish", "", ".fish")];
    for (shell, name, before, behind) in shells {
        for mut command in [agent(), client()] {
            let program = command.get_name().to_owned();
            let text = completion(shell, &mut command, &program);
            let file = format!("{before}{program}{behind}");
            let path = Path::new("completions").join(name).join(file);
            leaves.push(Leaf { path, text });
        }
    }
    Ok(leaves)
}

fn completion(shell: Shell, command: &mut Command, program: &str) -> String {
    // clap_complete 4.6 mistakes the hyphen of a program's name for the start of a command, in bash only.
    let plain = if shell == Shell::Bash { program.replace('-', "_") } else { program.to_owned() };
    let mut text = Vec::new();
    clap_complete::generate(shell, command, &plain, &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    text.replace(&format!("-o default {plain}\n"), &format!("-o default {program}\n"))
}

/// Writes all files.
///
/// # Errors
/// As [`leaves`], and a file that cannot be written.
pub fn write(root: &Path) -> Result<(), HandbookError> {
    for leaf in leaves(root)? {
        let file = root.join(&leaf.path);
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&file, &leaf.text))
            .map_err(|source| HandbookError::File { file, source })?;
    }
    Ok(())
}

fn read(root: &Path, path: &str) -> Result<String, HandbookError> {
    let file = root.join(path);
    std::fs::read_to_string(&file).map_err(|source| HandbookError::File { file, source })
}

/// The settings that the handbook lists, without their meaning.
///
/// # Errors
/// A handbook that cannot be read.
pub fn listed_settings(root: &Path) -> Result<Vec<String>, HandbookError> {
    let rows = markdown::table(&read(root, "docs/operations.md")?, "## Settings");
    Ok(rows
        .iter()
        .filter_map(|row| row.first())
        .map(|key| key.trim_matches(['`', '[', ']']).to_owned())
        .collect())
}
