//! A disk that stops answering: a FUSE file system in a lab, served by the test, that at some time keeps every read.
//!
//! In:  a lab, and the moment from which nothing is answered. Out: a file for a guest's disk, and processes that wait for
//!      it in the kernel, where not even SIGKILL ends them.
//!
//! It speaks the kernel's protocol (linux/fuse.h, 7.31) as far as a file of zeros needs it.
//!
//! Invariant: when the disk is dropped, or its test dies, the kernel gives all waiting processes an error.

mod wire;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Doing, LabError, Result};
use crate::lab::Lab;
use wire::{Question, answer};

/// Where it is mounted, inside the lab.
const MOUNT: &str = "/var/lib/libvirt/silent";
/// The largest question: a write of `MAX_WRITE` bytes and its head.
const BUFFER: usize = 1 << 17;

/// A disk in a lab.
#[derive(Debug)]
pub struct SilentDisk {
    silent: Arc<AtomicBool>,
    kept: Mutex<Receiver<()>>,
    end: Option<UnixStream>,
    server: Option<JoinHandle<()>>,
}

impl SilentDisk {
    /// The disk's path inside the lab.
    pub const PATH: &str = "/var/lib/libvirt/silent/disk";

    /// Mounts the file system. Until [`Self::fall_silent`] it answers.
    ///
    /// # Errors
    /// When the kernel has no FUSE.
    pub fn mount(lab: &Lab) -> Result<Self> {
        let place = lab.path(MOUNT);
        fs::create_dir_all(&place).doing(format!("make {}", place.display()))?;
        let entrance = lab.entrance()?;
        let silent = Arc::new(AtomicBool::new(false));
        let (end, ended) = UnixStream::pair().doing("make a socket pair")?;
        let (keep, kept) = channel();
        let (say_mounted, mounted) = channel();
        let is_silent = silent.clone();
        let server = thread::spawn(move || {
            let opened = entrance.go_in().and_then(|()| open());
            let (said, kernel) = match opened {
                Ok(kernel) => (Ok(()), Some(kernel)),
                Err(error) => (Err(error), None),
            };
            say_mounted.send(said).ok();
            if let Some(kernel) = kernel {
                serve(&kernel, &ended, &is_silent, &keep);
                drop(kernel); // everybody who waits gets an error now
                umount2(MOUNT, MntFlags::MNT_DETACH).ok();
            }
        });
        let disk = Self { silent, kept: Mutex::new(kept), end: Some(end), server: Some(server) };
        let failed = |_| LabError::Supervisor("the disk's server ended".into());
        mounted.recv().map_err(failed)??;
        Ok(disk)
    }

    /// From now on no read and no write is answered.
    pub fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// Waits until somebody waits for an answer that does not come.
    ///
    /// # Errors
    /// When nobody reads within `patience`.
    pub fn wait_for_somebody(&self, patience: Duration) -> Result<()> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.recv_timeout(patience).map_err(|_| LabError::TimedOut {
            waited: patience,
            awaited: "a read of the silent disk".into(),
            last_seen: "none".into(),
        })
    }
}

impl Drop for SilentDisk {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(server) = self.server.take() {
            server.join().ok();
        }
    }
}

fn open() -> Result<File> {
    let kernel = OpenOptions::new().read(true).write(true).open("/dev/fuse").doing("open /dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", kernel.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("fence-lab"), MOUNT, Some("fuse"), flags, Some(options.as_str()))
        .doing(format!("mount a file system on {MOUNT}"))?;
    Ok(kernel)
}

/// Answers the kernel until the disk is dropped.
fn serve(mut kernel: &File, ended: &UnixStream, silent: &AtomicBool, keep: &Sender<()>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut sources =
            [PollFd::new(kernel.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        if poll(&mut sources, PollTimeout::NONE).is_err() {
            continue; // a signal
        }
        let [_, over] = sources.map(|source| source.any().unwrap_or(true));
        if over {
            return;
        }
        let length = match kernel.read(&mut buffer) {
            Ok(length) => length,
            // The request was taken back meanwhile.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Interrupted) => continue,
            Err(_) => return,
        };
        let Some(question) = Question::read(buffer.get(..length).unwrap_or_default()) else { continue };
        if question.is_for_data() && silent.load(Ordering::SeqCst) {
            keep.send(()).ok();
            continue;
        }
        if let Some(reply) = answer(&question) {
            kernel.write_all(&reply).ok(); // who asked may be gone
        }
    }
}
