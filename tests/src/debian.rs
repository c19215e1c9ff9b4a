//! Debian's packages as real peers: fetched and unpacked into the lab's cache, never installed, since many of them start
//! services where they are installed.
//!
//! In:  apt's package lists. Out: an unpacked tree, and its programs with every library that they need.
//!
//! Invariant: what is unfinished is never taken for a tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Doing, LabError, Result};
use crate::image;
use crate::programs::{run, succeed};

/// Where the libraries of these packages are, beside the linker's own places.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib"];

/// Interpreters, and what would replace a library that is there.
const NOT_NEEDED: [&str; 3] = ["perl", "python", "elogind"];

/// An unpacked tree of packages.
#[derive(Debug, Clone)]
pub struct Packages {
    root: PathBuf,
}

impl Packages {
    /// The tree `name` in the cache, made of these packages and the libraries that are not installed, when it is not
    /// there. Remove its directory to get newer ones.
    ///
    /// # Errors
    /// When apt cannot fetch them.
    pub fn get(name: &str, packages: &[&str]) -> Result<Self> {
        let cache = image::cache()?;
        let root = cache.join(name);
        let _lock = image::lock(&cache)?;
        if !root.exists() {
            let unfinished = root.with_extension("new");
            fs::remove_dir_all(&unfinished).ok();
            fs::create_dir_all(&unfinished).doing(format!("make {}", unfinished.display()))?;
            if fetch(&unfinished, packages).is_err() {
                succeed(Command::new("apt-get").args(["-qq", "update"]))?; // the lists name packages that were replaced
                fetch(&unfinished, packages)?;
            }
            unpack(&unfinished)?;
            fs::rename(&unfinished, &root).doing(format!("keep {name}"))?;
        }
        Ok(Self { root })
    }

    /// These files of the tree with all libraries that they need, each with its place in a guest.
    ///
    /// # Errors
    /// When a library is not to be found.
    pub fn with_libraries(&self, files: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>> {
        let paths = LIBRARIES.map(|directory| self.root.join(directory).display().to_string()).join(":");
        let mut found = BTreeMap::new(); // a library that many need goes in once
        for file in files.iter().map(|file| self.root.join(file)) {
            let needs = run(Command::new("ldd").arg(&file).env("LD_LIBRARY_PATH", &paths))?;
            if needs.output.contains("not found") {
                let what = format!("a library of {}", file.display());
                let remedy = format!("install it; ldd says: {}", needs.output);
                return Err(LabError::Missing { what, remedy });
            }
            let libraries = needs.output.split_whitespace().filter(|word| word.starts_with('/'));
            for file in libraries.map(PathBuf::from).chain([file.clone()]) {
                found.insert(self.place(&file), file);
            }
        }
        Ok(found.into_iter().map(|(place, file)| (file, place)).collect())
    }

    /// Where a file of the tree is.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    fn place(&self, file: &Path) -> PathBuf {
        file.strip_prefix(&self.root).or_else(|_| file.strip_prefix("/")).unwrap_or(file).to_owned()
    }
}

fn fetch(directory: &Path, packages: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download"]).args(packages);
    apt.args(libraries_not_installed(packages)?).current_dir(directory);
    succeed(&mut apt).map(drop)
}

fn libraries_not_installed(packages: &[&str]) -> Result<Vec<String>> {
    let mut depends = Command::new("apt-cache");
    depends.args([
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
    ]);
    let depends = succeed(depends.args(["--no-replaces", "--no-enhances"]).args(packages))?;
    let mut libraries = Vec::new();
    for name in depends.lines().filter(|line| line.starts_with("lib") && !line.contains(':')) {
        if NOT_NEEDED.iter().any(|part| name.contains(part)) {
            continue;
        }
        let installed = run(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", name]))?;
        if installed.output != "installed" {
            libraries.push(name.to_owned());
        }
    }
    Ok(libraries)
}

fn unpack(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).doing(format!("list {}", directory.display()))? {
        let archive = entry.doing("read a directory")?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            succeed(Command::new("dpkg-deb").arg("-x").args([archive.as_path(), directory]))?;
            fs::remove_file(&archive).doing(format!("remove {}", archive.display()))?;
        }
    }
    Ok(())
}
