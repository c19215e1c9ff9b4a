//! Writes the new files below a directory.
//!
//! In:  a directory and [`NewFile`]s. Out: the files, all or none.
//!
//! Invariant: a file that is there already is not touched without `--force`; none is ever there in half.

use std::io;
use std::path::{Path, PathBuf};

use super::ConvertError;
use super::files::NewFile;

/// Puts the files there.
pub(super) fn write(directory: &Path, files: &[NewFile], force: bool) -> Result<(), ConvertError> {
    let places: Vec<(PathBuf, &NewFile)> =
        files.iter().map(|file| (directory.join(&file.path), file)).collect();
    if let Some((there, _)) = places.iter().find(|(path, _)| !force && path.symlink_metadata().is_ok()) {
        return Err(ConvertError::Exists(there.clone()));
    }
    for (path, file) in &places {
        put(path, &file.text, force).map_err(|source| ConvertError::Write { file: path.clone(), source })?;
    }
    Ok(())
}

fn put(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    // Not *.toml: the running agent reads those.
    let beside = path.with_extension(format!("toml.new-{}", std::process::id()));
    std::fs::write(&beside, text)?;
    let done = match force {
        true => std::fs::rename(&beside, path),
        // Fails where somebody made the file in the meantime.
        false => std::fs::hard_link(&beside, path),
    };
    let _ = std::fs::remove_file(&beside);
    done
}
