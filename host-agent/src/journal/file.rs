//! The journal's file.
//!
//! In:  bytes to keep. Out: the same bytes, also after the process was killed.
//!
//! Invariant: what could not be added whole is taken back; nothing is written that would not be read; the file is replaced by a rename, so it is never half of
//! anything. It lies in the runtime directory, which is memory: a hung disk holds up nobody, and after a boot of the host,
//! which ended every VM, it is gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::Store;

/// A journal longer than this is none of ours, and none is written.
pub(super) const MOST: u64 = 256 << 20;

/// A file that keeps a journal.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    file: Option<File>,
}

impl JournalFile {
    /// The file, and what is in it. One that is missing is made at the first write.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let mut content = Vec::new();
        match File::open(path) {
            Ok(file) => {
                not_too_long(file.metadata()?.len())?;
                file.take(MOST).read_to_end(&mut content)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok((Self { path: path.to_owned(), file: None }, content))
    }

    fn written(&self, path: &Path, bytes: &[u8], spare: u64) -> io::Result<()> {
        not_too_long(bytes.len() as u64)?;
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
        make_room(&file, 0, bytes.len() as u64 + spare)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(path, &self.path)
    }
}

fn not_too_long(length: u64) -> io::Result<()> {
    if length > MOST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
}

/// Keeps this much room for the file from `start` on, whatever else fills the disk; its length stays. Where that cannot be had,
/// nobody knows. tmpfs goes through every page of it, also those that are there.
fn make_room(file: &File, start: u64, bytes: u64) -> io::Result<()> {
    let (start, bytes) = (i64::try_from(start), i64::try_from(bytes));
    let (start, bytes) = (start.map_err(io::Error::other)?, bytes.map_err(io::Error::other)?);
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, start, bytes) {
        Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

impl Store for JournalFile {
    fn append(&mut self, bytes: &[u8], spare: u64) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?),
        };
        let length = file.metadata()?.len();
        not_too_long(length + bytes.len() as u64)?;
        make_room(file, length, bytes.len() as u64 + spare)?; // all before is written
        file.write_all(bytes).and_then(|()| file.sync_data()).inspect_err(|_| {
            let _ = file.set_len(length); // what is left of it has no right CRC
        })
    }

    fn replace(&mut self, bytes: &[u8], spare: u64) -> io::Result<()> {
        let new = self.path.with_extension("new");
        self.written(&new, bytes, spare).inspect_err(|_| {
            let _ = fs::remove_file(&new); // gives its room back
        })?;
        self.file = None;
        Ok(())
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
