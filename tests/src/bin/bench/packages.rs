//! The incumbent's packages: fetched and unpacked into the lab's cache, never installed, since installing fence-virtd starts
//! it as a service of the machine's own.
//!
//! In:  apt's package lists. Out: the programs of [`Packages`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fence_vmchannel_tests::programs::succeed;

use crate::error::{Result, unexpected};

/// The daemon, the client, and what the client needs beside the C library.
const NAMES: [&str; 4] = ["fence-virtd", "fence-virt", "libnss3", "libnspr4"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The unpacked packages.
pub(crate) struct Packages {
    root: PathBuf,
}

impl Packages {
    /// Unpacks them when they are not there. Remove the directory to get newer ones.
    pub(crate) fn get() -> Result<Self> {
        let program = std::env::current_exe()?;
        let target = program.ancestors().nth(2).ok_or_else(|| unexpected("this program has no place"))?;
        let root = target.join("fence-lab-cache/incumbent");
        if !root.exists() {
            let unfinished = root.with_extension("new");
            fs::remove_dir_all(&unfinished).ok();
            fs::create_dir_all(&unfinished)?;
            if fetch(&unfinished).is_err() {
                succeed(Command::new("apt-get").args(["-qq", "update"]))?; // the lists name packages that were replaced
                fetch(&unfinished)?;
            }
            unpack(&unfinished)?;
            fs::rename(&unfinished, &root)?;
        }
        Ok(Self { root })
    }

    pub(crate) fn daemon(&self) -> PathBuf {
        self.root.join("usr/sbin/fence_virtd")
    }

    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join(LIBRARIES).join("fence-virt")
    }

    /// The client and the libraries that it needs, each with its place in a guest.
    pub(crate) fn client(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        let client = self.root.join("usr/sbin/fence_virt");
        let needs =
            Command::new("ldd").arg(&client).env("LD_LIBRARY_PATH", self.root.join(LIBRARIES)).output()?;
        let needs = String::from_utf8_lossy(&needs.stdout).into_owned();
        if needs.contains("not found") {
            return Err(unexpected(format!("fence_virt lacks a library: {needs}")));
        }
        let files = needs.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
        Ok(files.chain([client]).map(|file| (file.clone(), self.in_a_guest(&file))).collect())
    }

    /// What it is, in words.
    pub(crate) fn version(&self) -> String {
        let version = fs::read_to_string(self.root.join("version")).unwrap_or_default();
        format!("fence_virtd {} of Debian", version.trim())
    }

    fn in_a_guest(&self, file: &Path) -> PathBuf {
        file.strip_prefix(&self.root).or_else(|_| file.strip_prefix("/")).unwrap_or(file).to_owned()
    }
}

fn fetch(directory: &Path) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download"]).args(NAMES).current_dir(directory);
    Ok(succeed(&mut apt).map(drop)?)
}

fn unpack(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let archive = entry?.path();
        if archive.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        if archive.to_string_lossy().contains("/fence-virtd_") {
            let version = succeed(Command::new("dpkg-deb").arg("-f").arg(&archive).arg("Version"))?;
            fs::write(directory.join("version"), version)?;
        }
        succeed(Command::new("dpkg-deb").arg("-x").args([&archive, &directory.to_path_buf()]))?;
        fs::remove_file(archive)?;
    }
    Ok(())
}
