//! The guests' image: a distribution's kernel and an initramfs with busybox and our client, nothing else.
//!
//! In:  Debian's cloud kernel package and busybox-static; our client as a static program.
//! Out: [`Image`], made once and kept in the cache until the client changes.
//!
//! Invariant: parallel test processes never see a half made image (a lock while it is made, a rename at the end).

mod cpio;
mod kernel;

use std::collections::HashSet;
use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Doing, LabError, Result};
use crate::lab::Lab;
use crate::programs::{succeed, target_directory};
use cpio::Cpio;
pub use kernel::{NETWORK, VSOCK};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What a guest boots from.
#[derive(Debug, Clone)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs; its `/sbin/fence_vmchannel` is our client.
    pub initramfs: PathBuf,
}

impl Image {
    /// The image with the client as it is now. The first call takes as long as cargo and apt need.
    ///
    /// # Errors
    /// When a package is not installed or cannot be fetched, or the client does not build.
    pub fn get() -> Result<Self> {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        if let Some(image) = IMAGE.get() {
            return Ok(image.clone());
        }
        let image = Self::make()?;
        Ok(IMAGE.get_or_init(|| image).clone())
    }

    /// Copies the image to where the lab's guests boot from.
    pub(crate) fn put_into(&self, lab: &Lab) -> Result<()> {
        let _lock = lock(lab.directory())?;
        for (file, name) in [(&self.kernel, "vmlinuz"), (&self.initramfs, "initramfs")] {
            let copy = lab.path("/var/lib/libvirt/images").join(name);
            if !copy.exists() {
                fs::copy(file, &copy).doing(format!("copy {} into the lab", file.display()))?;
            }
        }
        Ok(())
    }

    /// As `put_into`, with more files in the guests' tree, each from a file of the host, and more kernel modules.
    /// To be called before the lab's first guest is made.
    ///
    /// # Errors
    /// When a file cannot be read or copied.
    pub fn put_into_with(&self, lab: &Lab, files: &[(PathBuf, PathBuf)], modules: &[&str]) -> Result<()> {
        let kernel = self.kernel.parent().unwrap_or(Path::new("/"));
        let place = |module: &&str| (kernel.join(module), Path::new("lib/modules").join(module));
        let modules: Vec<_> = modules.iter().map(place).collect();
        let mut archive = Cpio::default();
        let mut made = HashSet::new();
        for (file, place) in files.iter().chain(&modules) {
            let mut above: Vec<&Path> = place.ancestors().skip(1).collect();
            above.reverse();
            for directory in above.into_iter().filter(|above| *above != Path::new("")) {
                if made.insert(directory.to_owned()) {
                    archive.directory(&directory.to_string_lossy());
                }
            }
            archive.file(&place.to_string_lossy(), &read(file)?);
        }
        let mut initramfs = read(&self.initramfs)?;
        initramfs.resize(initramfs.len().next_multiple_of(4), 0);
        initramfs.extend(archive.finish()); // the kernel unpacks one archive after the other
        let images = lab.path("/var/lib/libvirt/images");
        fs::write(images.join("initramfs"), initramfs).doing("write the lab's initramfs")?;
        self.put_into(lab)
    }

    fn make() -> Result<Self> {
        let cache = cache()?;
        let _lock = lock(&cache)?;
        let kernel = kernel::get(&cache)?;
        let client = client()?;
        let archive = initramfs(&kernel, &read(&client)?)?;
        let mut hasher = DefaultHasher::new();
        archive.hash(&mut hasher);
        let initramfs = cache.join(format!("initramfs-{:016x}", hasher.finish()));
        if !initramfs.exists() {
            let unfinished = initramfs.with_extension("new");
            fs::write(&unfinished, archive).doing(format!("write {}", unfinished.display()))?;
            fs::rename(&unfinished, &initramfs).doing("put the initramfs in its place")?;
        }
        let kernel = kernel.join("vmlinuz");
        Ok(Self { kernel, initramfs })
    }
}

/// Where the lab keeps what takes long to make: `$FENCE_LAB_CACHE`, or cargo's target directory.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = match env::var_os("FENCE_LAB_CACHE") {
        Some(chosen) => PathBuf::from(chosen),
        None => target_directory()?.join("fence-lab-cache"),
    };
    fs::create_dir_all(&cache).doing(format!("make {}", cache.display()))?;
    Ok(cache)
}

/// Held while something in this directory is made.
pub(crate) fn lock(cache: &Path) -> Result<Flock<File>> {
    let path = cache.join("lock");
    let file = File::create(&path).doing(format!("make {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .doing(format!("lock {}", path.display()))
}

/// The static client: `$FENCE_VMCHANNEL_CLIENT`, or what cargo makes of this workspace's sources.
fn client() -> Result<PathBuf> {
    if let Some(chosen) = env::var_os("FENCE_VMCHANNEL_CLIENT") {
        return Ok(chosen.into());
    }
    let directory = target_directory()?.join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--release", "-p", "fence-vmchannel-guest-client"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&directory)
        .current_dir(WORKSPACE)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    succeed(&mut cargo)?;
    Ok(directory.join(TARGET).join("release/fence_vmchannel"))
}

fn initramfs(kernel: &Path, client: &[u8]) -> Result<Vec<u8>> {
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        return Err(LabError::Missing {
            what: busybox.display().to_string(),
            remedy: "run packaging/install-build-deps (Debian's package is busybox-static)".into(),
        });
    }
    let mut archive = Cpio::default();
    for directory in [
        "bin",
        "dev",
        "etc",
        "lib",
        "lib/modules",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr",
        "usr/bin",
        "usr/sbin",
    ] {
        archive.directory(directory);
    }
    archive.file("init", include_bytes!("../guest/init"));
    archive.file("etc/profile", include_bytes!("../guest/profile"));
    archive.file("bin/busybox", &read(busybox)?);
    archive.file("sbin/fence_vmchannel", client);
    for module in kernel::MODULES {
        let contents = read(&kernel.join(module))?;
        archive.file(&format!("lib/modules/{module}"), &contents);
    }
    Ok(archive.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).doing(format!("read {}", path.display()))
}
