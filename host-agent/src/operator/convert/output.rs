//! Writes the new files below a directory.
//!
//! In:  a directory and [`NewFile`]s. Out: the files, all or none.
//!
//! Invariant: a file that is there already is not touched without `--force`; none is ever there in half.

use std::fs::File;
use std::io::{self, Write};
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
    // Its name can be guessed: what is there already, perhaps a link, is not written to.
    let unfinished = File::options().write(true).create_new(true).open(&beside);
    let written = unfinished?.write_all(text.as_bytes());
    let done = written.and_then(|()| match force {
        true => std::fs::rename(&beside, path),
        // Fails where somebody made the file in the meantime.
        false => std::fs::hard_link(&beside, path),
    });
    let _ = std::fs::remove_file(&beside);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_way_of_the_unfinished_file_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("10.toml"), dir.path().join("victim"));
        std::fs::write(&victim, "untouched").unwrap();
        let unfinished = format!("10.toml.new-{}", std::process::id());
        std::os::unix::fs::symlink(&victim, dir.path().join(unfinished)).unwrap();

        let error = put(&path, "new", false).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        assert!(!path.exists());
    }
}
