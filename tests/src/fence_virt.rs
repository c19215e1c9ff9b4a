//! Debian's fence_virt, fence_xvm and fence_virtd, the real peers of our programs.
//!
//! In:  the packages, by [`debian`]. Out: the programs of [`Packages`], and a running [`Daemon`].

mod daemon;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use daemon::{Daemon, Listener, SOCKETS, make_directory};
pub use fence_vmchannel_protocol::legacy::Hash;

use crate::debian;
use crate::error::Result;
use crate::programs::succeed;

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The unpacked packages.
#[derive(Debug)]
pub struct Packages {
    tree: debian::Packages,
}

impl Packages {
    /// Unpacks them when they are not there.
    ///
    /// # Errors
    /// When apt cannot fetch them.
    pub fn get() -> Result<Self> {
        debian::Packages::get("fence-virt", &["fence-virtd", "fence-virt"]).map(|tree| Self { tree })
    }

    /// The daemon.
    #[must_use]
    pub fn daemon(&self) -> PathBuf {
        self.program("fence_virtd")
    }

    /// Where the daemon's listeners and backends are.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.libraries().join("fence-virt")
    }

    /// A program by its name, for a command on the host; a client needs [`Self::libraries`].
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.tree.path("usr/sbin").join(name)
    }

    /// The libraries of the clients, for `LD_LIBRARY_PATH`.
    #[must_use]
    pub fn libraries(&self) -> PathBuf {
        self.tree.path(LIBRARIES)
    }

    /// The client fence_virt and the libraries that it needs, each with its place in a guest.
    ///
    /// # Errors
    /// When the machine has not all of them.
    pub fn client(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        self.tree.with_libraries(&["usr/sbin/fence_virt"])
    }

    /// fence_virtd, its listeners and backends, NSS, which it loads by itself, and the client: for a guest.
    ///
    /// # Errors
    /// When the machine has not all of them.
    pub fn server_and_client(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        const NSS: [&str; 3] = ["libsoftokn3.so", "libfreebl3.so", "libfreeblpriv3.so"];
        let mut files = vec!["usr/sbin/fence_virtd".to_owned(), "usr/sbin/fence_virt".to_owned()];
        files.extend(["vsock", "virt"].map(|module| format!("{LIBRARIES}/fence-virt/{module}.so")));
        let installed = |file: String| if self.tree.path(&file).exists() { file } else { format!("/{file}") };
        files.extend(NSS.map(|name| installed(format!("{LIBRARIES}/{name}"))));
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        self.tree.with_libraries(&files)
    }

    /// What a program needs, without the program itself.
    ///
    /// # Errors
    /// When the machine has not all of it.
    pub fn libraries_of(&self, program: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
        let files = self.tree.with_libraries(&[&program.to_string_lossy()])?;
        Ok(files.into_iter().filter(|(file, _)| file != program).collect())
    }

    /// What it is, in words.
    #[must_use]
    pub fn version(&self) -> String {
        let mut asked = Command::new(self.program("fence_virt"));
        let said = succeed(asked.arg("-V").env("LD_LIBRARY_PATH", self.libraries())).unwrap_or_default();
        format!("fence_virtd {} of Debian", said.split_whitespace().last().unwrap_or("of an unknown version"))
    }
}
