//! QEMU processes, held by pidfd.
//!
//! In:  libvirt's pid files and `/proc`. Out: an [`Instance`], or whether any process of a domain exists.
//!
//! Invariant: the pidfd is opened first, then the process is checked, then the pidfd is seen alive: so the checked
//! process is the held one. What cannot be read is never taken for "no such process".

mod doing;
mod registry;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use uuid::Uuid;

use crate::domain::{Instance, InstanceId, Process, Sighting};

/// How often to look where a pidfd cannot be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// More than the command line of any QEMU.
const MAX_COMMAND_LINE: u64 = 1 << 20;
/// How long a look at `/proc` may take, and how many may hang.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_LEFT_BEHIND: usize = 16;

/// A QEMU process.
#[derive(Debug)]
pub struct QemuProcess {
    pid: i32,
    pidfd: OwnedFd,
}

#[async_trait]
impl Process for QemuProcess {
    fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A pidfd is readable when all threads of its process have exited, pidfd_open(2). An error proves nothing.
        matches!(poll(&mut fds, Some(&now)), Ok(1))
            && fds.iter().all(|fd| fd.revents().contains(PollFlags::IN))
    }

    async fn gone(&self) {
        while !self.is_gone() {
            if wait(&self.pidfd).await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await; // no descriptor left for waiting
            }
        }
    }

    fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::KILL)?)
    }

    fn is_peer(&self, pid: i32) -> bool {
        pid == self.pid && !self.is_gone()
    }

    fn describe(&self) -> String {
        let what_it_does = doing::describe(self.pid);
        if self.is_gone() { format!("QEMU pid {} has exited", self.pid) } else { what_it_does }
    }
}

/// Without flags, which Linux knows since 5.10 only.
fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    pidfd_open(pid, PidfdFlags::empty())
}

/// A duplicate for each wait, since a descriptor can be registered only once.
#[expect(deprecated, reason = "sound with an OwnedFd; its successor is unsafe")]
async fn wait(pidfd: &OwnedFd) -> io::Result<()> {
    let waiting = AsyncFd::with_interest(pidfd.try_clone()?, Interest::READABLE)?;
    waiting.readable().await.map(drop)
}

/// The process that libvirt's pid file names, if it lives and runs this domain. Without a pid file there is none: libvirt
/// writes it before QEMU runs and removes it after its end.
#[must_use]
pub fn instance_from_pid_file(run_dir: &Path, name: &str, uuid: Uuid) -> Sighting {
    match named_by_pid_file(run_dir, name) {
        Ok(Some(pid)) => held(pid, uuid).unwrap_or(Sighting::Unsure),
        Ok(None) => Sighting::Absent,
        Err(_) => Sighting::Unsure,
    }
}

fn named_by_pid_file(run_dir: &Path, name: &str) -> io::Result<Option<Pid>> {
    if name.contains('/') {
        return Ok(None); // cannot be the name of a file, and must not lead out of the directory
    }
    match fs::read_to_string(run_dir.join(format!("{name}.pid"))) {
        Ok(text) => {
            let pid = text.trim().parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
            pid.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()) // being written
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of all domains that libvirt has written a pid file of.
pub fn named_by_pid_files(run_dir: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(run_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let file = entry?.file_name().into_string().map_err(|_| io::ErrorKind::InvalidData)?;
        names.extend(file.strip_suffix(".pid").map(str::to_owned));
    }
    Ok(names)
}

fn held(pid: Pid, uuid: Uuid) -> io::Result<Sighting> {
    Ok(match qemu(pid)? {
        Some((Named::Domain(domain), instance)) if domain == uuid => Sighting::Runs(instance),
        // Another domain's: names changed hands, and what is known of them is out of date. Or it is just ending.
        Some((Named::Domain(_), _)) => Sighting::Unsure,
        // Somebody's QEMU that got the pid; or this domain's, which can write what it likes over its own arguments.
        Some((Named::Nothing | Named::Another, _)) if is_qemu(pid)? => Sighting::Unsure,
        // Ended, or the pid is another program's by now.
        Some((Named::Nothing | Named::Another, _)) | None => Sighting::Absent,
    })
}

/// What a process's arguments tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// It runs this domain.
    Domain(Uuid),
    /// It runs no domain of libvirt's.
    Another,
    /// There are none: it is a thread of the kernel, or a process that is ending and has no memory any more.
    Nothing,
}

/// A living process, held, and the domain that its arguments name. What was learned once holds as long as somebody holds the
/// process: its arguments can be rewritten, locked, and gone before it is.
fn qemu(pid: Pid) -> io::Result<Option<(Named, Instance)>> {
    let number = pid.as_raw_nonzero().get();
    if let Some(id) = start_time(number).map(|started| InstanceId { pid: number, started })
        && let Some((domain, process)) = registry::known(id)
    {
        return Ok((!process.is_gone()).then(|| (Named::Domain(domain), Instance { id, process })));
    }
    let pidfd = match open(pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let process = QemuProcess { pid: number, pidfd };
    let checked = command_line(number).and_then(|line| {
        let started = start_time(number).ok_or(io::ErrorKind::InvalidData)?;
        Ok((line, InstanceId { pid: number, started }))
    });
    if process.is_gone() {
        return Ok(None);
    }
    let (line, id) = checked?;
    let process = Arc::new(process);
    let named = match domain_of(&line) {
        Some(domain) => return Ok(Some((Named::Domain(domain), registry::hold(id, domain, process)))),
        None if line.is_empty() => Named::Nothing,
        None => Named::Another,
    };
    Ok(Some((named, Instance { id, process })))
}

/// The process that was this instance, if it lives.
#[must_use]
pub fn again(id: InstanceId) -> Sighting {
    let Some(pid) = Pid::from_raw(id.pid) else { return Sighting::Absent };
    let pidfd = match open(pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Sighting::Absent,
        Err(_) => return Sighting::Unsure,
    };
    let process = QemuProcess { pid: id.pid, pidfd };
    let started = start_time(id.pid);
    match started {
        _ if process.is_gone() => Sighting::Absent,
        Some(started) if started == id.started => Sighting::Runs(Instance { id, process: Arc::new(process) }),
        Some(_) => Sighting::Absent,
        None => Sighting::Unsure,
    }
}

/// The QEMU processes of the host.
#[derive(Debug, Default)]
pub struct Everyone {
    /// By the domain that their arguments name. One that libvirt lost sight of may run beside another.
    pub domains: HashMap<Uuid, Vec<Instance>>,
    /// One of which nobody can tell whose it is.
    pub nameless: Option<i32>,
}

/// Every QEMU process of the host. Only arguments of QEMU are read: reading them waits for the process's memory map, which a
/// stuck process can hold for ever.
pub fn everyone() -> io::Result<Everyone> {
    let mut found = Everyone::default();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        if !is_qemu(pid)? {
            continue;
        }
        match qemu(pid)? {
            Some((Named::Domain(uuid), instance)) => found.domains.entry(uuid).or_default().push(instance),
            Some((Named::Nothing, instance)) => found.nameless = Some(instance.id.pid),
            Some((Named::Another, _)) | None => {}
        }
    }
    Ok(found)
}

/// Whether a process's program is QEMU. The program of one whose first thread has exited before the others cannot be told;
/// its name can. An ordinary user's agent has to do with that user's processes only.
fn is_qemu(pid: Pid) -> io::Result<bool> {
    is_qemu_in(Path::new(&format!("/proc/{}", pid.as_raw_nonzero())))
}

fn is_qemu_in(dir: &Path) -> io::Result<bool> {
    if let Ok(program) = fs::read_link(dir.join("exe")) {
        return Ok(program.file_name().is_some_and(|name| is_name_of_qemu(name.as_encoded_bytes())));
    }
    match fs::read(dir.join("comm")) {
        Ok(comm) => Ok(is_name_of_qemu(&comm)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root() => Ok(false),
        Err(error) => Err(error),
    }
}

/// `qemu*`; some distributions wrap it, and call the program itself `.qemu*`.
fn is_name_of_qemu(name: &[u8]) -> bool {
    name.strip_prefix(b".").unwrap_or(name).starts_with(b"qemu")
}

/// [`instance_from_pid_file`] where nothing of the process needs to be read, else `None`. `ended` is a process of the domain that is
/// known to be gone: while the file still names it, no other one has been started.
#[must_use]
pub fn instance_at_once(
    run_dir: &Path,
    name: &str,
    uuid: Uuid,
    ended: Option<InstanceId>,
) -> Option<Sighting> {
    let pid = match named_by_pid_file(run_dir, name) {
        Ok(None) => return Some(Sighting::Absent), // most domains that are off
        Ok(Some(pid)) if ended.is_some_and(|ended| is_still(pid, ended)) => return Some(Sighting::Absent),
        Ok(Some(pid)) => pid,
        Err(_) => return Some(Sighting::Unsure),
    };
    let number = pid.as_raw_nonzero().get();
    let id = start_time(number).map(|started| InstanceId { pid: number, started });
    let _held = id.and_then(registry::known)?; // else its arguments would be read
    Some(held(pid, uuid).unwrap_or(Sighting::Unsure))
}

/// The same, but reads what must be read; blocking, never for long.
#[must_use]
pub fn instance_in_time(run_dir: &Path, name: &str, uuid: Uuid, ended: Option<InstanceId>) -> Sighting {
    if let Some(sighting) = instance_at_once(run_dir, name, uuid, ended) {
        return sighting;
    }
    let Ok(Some(pid)) = named_by_pid_file(run_dir, name) else { return Sighting::Unsure }; // it changed just now
    let (run_dir, name) = (run_dir.to_owned(), name.to_owned());
    in_time(pid, move || instance_from_pid_file(&run_dir, &name, uuid)).unwrap_or(Sighting::Unsure)
}

/// Whether this pid is the ended process's, not that of a new one which got the same number.
fn is_still(pid: Pid, ended: InstanceId) -> bool {
    let pid = pid.as_raw_nonzero().get();
    pid == ended.pid && start_time(pid).is_none_or(|started| started == ended.started)
}

/// Reading arguments waits for the process's memory map, which a stuck or hostile process can hold for ever. So they are
/// read on a thread that can be left behind; a process that holds one is not looked at again until it lets go.
fn in_time<T: Send + 'static>(pid: Pid, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    /// The processes that hold a thread, and whether they let go.
    static HANGING: Mutex<BTreeMap<i32, Arc<AtomicBool>>> = Mutex::new(BTreeMap::new());
    let hanging = || HANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = pid.as_raw_nonzero().get();
    {
        let mut hanging = hanging();
        hanging.retain(|_, ended| !ended.load(Ordering::Acquire));
        if hanging.len() >= MAX_LEFT_BEHIND || hanging.contains_key(&pid) {
            return None;
        }
    }
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    let ended = Arc::new(AtomicBool::new(false));
    let ending = ended.clone();
    let look = move || {
        let _ = send.send(look()); // nobody waits any more
        ending.store(true, Ordering::Release);
    };
    std::thread::Builder::new().spawn(look).ok()?;
    receive.recv_timeout(PATIENCE).inspect_err(|_| drop(hanging().insert(pid, ended))).ok()
}

/// A process's arguments. The first thread's are empty once it has exited; then another thread's are read.
fn command_line(pid: i32) -> io::Result<Vec<u8>> {
    let line = arguments(format!("/proc/{pid}/cmdline"))?;
    if !line.is_empty() {
        return Ok(line);
    }
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let line = arguments(thread?.path().join("cmdline")).unwrap_or_default(); // it may just have exited
        if !line.is_empty() {
            return Ok(line);
        }
    }
    Ok(line)
}

fn arguments(file: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    fs::File::open(file)?.take(MAX_COMMAND_LINE).read_to_end(&mut line)?;
    Ok(line)
}

/// The UUID after the argument `-uuid`, as libvirt starts QEMU.
fn domain_of(command_line: &[u8]) -> Option<Uuid> {
    let arguments = || command_line.split(|byte| *byte == 0);
    let mut pairs = arguments().zip(arguments().skip(1)).filter(|(flag, _)| *flag == b"-uuid");
    pairs.find_map(|(_, value)| Uuid::try_parse_ascii(value).ok())
}

/// Field 22 of `/proc/PID/stat`; the second field, in parentheses, may itself hold spaces and parentheses, proc(5).
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&stat);
    let (_, after_command) = text.rsplit_once(')')?;
    after_command.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
