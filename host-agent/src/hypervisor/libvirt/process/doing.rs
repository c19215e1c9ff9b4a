//! What a process is doing, in words.
//!
//! In:  its pid. Out: its state and where it waits.
//!
//! Invariant: however many ask at once, a process is looked at every [`AGE`] at most: each look reads two files of each of its
//! threads, but of [`MAX_THREADS`] at most, on the runtime's own thread.

use std::collections::HashMap;
use std::fs;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How old what is told may be.
const AGE: Duration = Duration::from_millis(200);

/// More than a QEMU has that does what it should.
pub(super) const MAX_THREADS: usize = 256;

/// The last looks, by pid: when each was over, and what was seen.
type Looks = HashMap<i32, (Instant, String)>;

fn looks() -> MutexGuard<'static, Looks> {
    static LOOKS: LazyLock<Mutex<Looks>> = LazyLock::new(Mutex::default);
    LOOKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Such as "QEMU pid 1 in state D (disk sleep), waiting in io_schedule", as it was at most [`AGE`] ago.
pub(super) fn describe(pid: i32) -> String {
    {
        let now = Instant::now();
        let mut looks = looks();
        looks.retain(|_, (at, _)| now.duration_since(*at) < AGE);
        if let Some((_, seen)) = looks.get(&pid) {
            return seen.clone();
        }
    }
    let seen = look(pid);
    looks().insert(pid, (Instant::now(), seen.clone()));
    seen
}

fn look(pid: i32) -> String {
    let (state, waiting) = slowest_thread(pid).unwrap_or_else(|| ("unknown".to_owned(), String::new()));
    match waiting.trim() {
        "" | "0" => format!("QEMU pid {pid} in state {state}"),
        place => format!("QEMU pid {pid} in state {state}, waiting in {place}"),
    }
}

/// State, such as "D (disk sleep)", and place of waiting of the thread that holds up the process's end. A killed process's
/// first thread can be a zombie already while another one waits for a disk.
pub(super) fn slowest_thread(pid: i32) -> Option<(String, String)> {
    let told = threads(pid)?.filter_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let state = status.lines().find_map(|line| line.strip_prefix("State:"))?.trim().to_owned();
        let waiting = fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        Some((state, waiting))
    });
    // The first of several: the process's own first thread, if it is one of them.
    told.min_by_key(|(state, _)| match state.chars().next() {
        Some('D') => 0,
        Some('Z' | 'X') => 2,
        _ => 1,
    })
}

/// Those that are looked at.
pub(super) fn threads(pid: i32) -> Option<impl Iterator<Item = fs::DirEntry>> {
    Some(fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().take(MAX_THREADS))
}
