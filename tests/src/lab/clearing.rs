//! Clearing a lab away: every process in it, then its directory.
//!
//! In:  the lab's directory and its [`Bounds`].
//! Out: nothing of the lab is left.
//!
//! Invariant: only descendants of the supervisor and processes inside the lab's mount namespace are killed.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{freezer, rooms, supervisor};
use crate::error::{Doing, LabError, Result};

const MOUNTS: &str = "/proc/self/ns/mnt";
const PATIENCE: Duration = Duration::from_secs(30);

/// What is in the lab, and what is not.
#[derive(Debug)]
pub(super) struct Bounds {
    /// The test's process, which is spared even when it entered the lab.
    owner: i32,
    /// The mount namespace in which the supervisor was born. All in there are strangers.
    outside: PathBuf,
}

impl Bounds {
    /// To be called before the supervisor moves into the lab.
    pub(super) fn around(owner: Pid) -> Result<Self> {
        let outside = fs::read_link(MOUNTS).doing(format!("read {MOUNTS}"))?;
        Ok(Self { owner: owner.as_raw(), outside })
    }

    /// The lab's mount namespace, once there is one.
    fn inside(&self) -> Option<PathBuf> {
        let here = fs::read_link(MOUNTS).ok()?;
        (here != self.outside).then_some(here)
    }
}

/// Kills everything in the lab, again until nothing is left, and removes its directory.
pub(super) fn clear(directory: &Path, bounds: &Bounds) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        freezer::thaw_all(directory);
        let left = residents(bounds);
        if left.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            return Err(LabError::Supervisor(format!("processes {left:?} do not die")));
        }
        end(&left);
        supervisor::reap()?;
    }
    freezer::remove_all(directory);
    if bounds.inside().is_some() {
        unmount_all();
    }
    fs::remove_dir_all(directory).doing(format!("remove {}", directory.display()))
}

/// What tests mounted in the lab's rooms, the last one first.
fn unmount_all() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().filter_map(|mount| mount.split(' ').nth(4)); // proc_pid_mountinfo(5)
    let in_a_room = |place: &&str| {
        let below =
            |(room, _): &(&str, &str)| place.strip_prefix(room).is_some_and(|rest| rest.starts_with('/'));
        rooms::ROOMS.iter().any(below)
    };
    let places: Vec<&str> = places.filter(in_a_room).collect();
    for place in places.iter().rev() {
        umount2(*place, MntFlags::MNT_DETACH).ok();
    }
}

fn end(pids: &[i32]) {
    let processes: Vec<OwnedFd> = pids
        .iter()
        .filter_map(|pid| rustix::process::Pid::from_raw(*pid))
        .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect();
    for process in &processes {
        pidfd_send_signal(process, Signal::KILL).ok();
    }
    for process in &processes {
        let mut gone = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        poll(&mut gone, PollTimeout::from(500_u16)).ok();
    }
}

/// Everybody in the lab: our descendants, wherever they went, and all in the lab's mount namespace.
fn residents(bounds: &Bounds) -> Vec<i32> {
    let us = nix::unistd::getpid().as_raw();
    let inside = bounds.inside();
    let lives_inside = |pid: &i32| {
        let mounts = fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        inside.is_some() && mounts == inside
    };
    let parents: Vec<(i32, i32)> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found: HashSet<i32> = parents.iter().map(|(pid, _)| *pid).filter(lives_inside).collect();
    found.insert(us);
    found.remove(&bounds.owner);
    loop {
        let children = parents.iter().filter(|(pid, parent)| found.contains(parent) && !found.contains(pid));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        if children.is_empty() {
            break;
        }
        found.extend(children);
    }
    found.remove(&us);
    found.into_iter().collect()
}

fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The parent's pid: the fourth field of /proc/PID/stat, counted behind the name, which may hold anything.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}
