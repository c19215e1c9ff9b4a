//! Waiting for a port that is busy or whose host is away.
//!
//! In:  a way to try to open it, a deadline. Out: what it opened, or why it could not.
//!
//! Invariant: a port that becomes free is tried again at once (its closing is an inotify event), and one whose host
//! comes back within [`HOST_LOOK`]; but no two tries are closer to each other than [`REST`].

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use inotify::{Inotify, WatchMask};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::PortError;
use super::stream::watched;
use crate::outcome::printable;
use crate::trace::Trace;

/// How often to look whether the host is back: a virtio port tells that by no event that outlives its hang-up.
pub(super) const HOST_LOOK: Duration = Duration::from_millis(50);

/// How often to try a busy port when no closing was seen, for file systems without inotify.
const BUSY_LOOK: Duration = Duration::from_millis(100);

/// The time between two tries: a try of a busy tty closes it too, which wakes whoever waits for it, this one as well.
const REST: Duration = Duration::from_millis(10);

/// What one try to open came to.
#[derive(Debug)]
pub(super) enum Attempt<T> {
    Open(T),
    Busy,
    Away,
}

impl<T> Attempt<T> {
    pub(super) fn map<U>(self, turn: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Open(open) => Attempt::Open(turn(open)),
            Self::Busy => Attempt::Busy,
            Self::Away => Attempt::Away,
        }
    }
}

pub(super) async fn open_when_free<T>(
    path: &Path,
    deadline: Instant,
    trace: Trace,
    mut attempt: impl AsyncFnMut() -> io::Result<Attempt<T>>,
) -> Result<T, PortError> {
    let device = || path.to_owned();
    let mut closings: Option<Closings> = None;
    let mut told = false;
    loop {
        let busy = match attempt().await {
            Ok(Attempt::Open(open)) => return Ok(open),
            Ok(Attempt::Busy) => true,
            Ok(Attempt::Away) => false,
            Err(source) => return Err(explain(path, source)),
        };
        let tried = Instant::now();
        if !told {
            let what =
                if busy { "is in use, waiting for it" } else { "has no host at its other end, waiting" };
            trace.say(format_args!("{} {what}", path.display()));
            told = true;
        }
        match (tried >= deadline, busy) {
            (true, true) => return Err(PortError::Busy { device: device(), holder: holder(path) }),
            (true, false) => return Err(PortError::HostAway { device: device() }),
            (false, false) => sleep(HOST_LOOK.min(deadline - tried)).await,
            (false, true) => match &mut closings {
                Some(closings) => {
                    let wait = BUSY_LOOK.min(deadline - tried);
                    // Whether it was closed or only time passed: the next try tells.
                    let _closed_or_not = timeout(wait, closings.next()).await;
                }
                // It may be closed before the watch exists, so it is tried once more before waiting.
                None => closings = Some(Closings::of(path)),
            },
        }
        sleep_until(deadline.min(tried + REST)).await;
    }
}

fn explain(path: &Path, source: io::Error) -> PortError {
    let device = path.to_owned();
    let kind = source.kind();
    if kind == io::ErrorKind::NotFound {
        PortError::Missing { device }
    } else if kind == io::ErrorKind::PermissionDenied {
        PortError::Denied { device }
    } else if kind == io::ErrorKind::InvalidInput {
        PortError::NotAChannel { device }
    } else {
        PortError::Device { device, source }
    }
}

/// The moments when somebody closes the port.
struct Closings(Option<AsyncFd<Inotify>>);

impl Closings {
    fn of(path: &Path) -> Self {
        let watch = || {
            let inotify = Inotify::init()?;
            inotify.watches().add(path, WatchMask::CLOSE)?;
            watched(inotify)
        };
        Self(watch().ok())
    }

    async fn next(&mut self) {
        let Some(events) = &mut self.0 else { return std::future::pending().await };
        if let Ok(mut ready) = events.readable_mut().await {
            let mut buffer = [0; 1024];
            let _closed = ready.try_io(|inotify| inotify.get_mut().read_events(&mut buffer).map(|_| ()));
        }
    }
}

/// The program that has the port open, as far as this user may see it.
fn holder(path: &Path) -> String {
    let unknown = || "another program".to_owned();
    let Ok(device) = fs::canonicalize(path) else { return unknown() };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_number = |name: &OsStr| name.to_string_lossy().bytes().all(|b| b.is_ascii_digit());
    let found = processes.filter(|process| process.file_name().is_some_and(is_number)).find(|process| {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let mut open = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        open.any(|file| file == device)
    });
    found.map_or_else(unknown, |process| {
        // Whoever runs it chooses the name.
        let name = fs::read(process.join("comm")).unwrap_or_default();
        let name = printable(String::from_utf8_lossy(&name).trim_end());
        let pid = process.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} (process {pid})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs::File;

    fn in_a_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn a_busy_port_is_tried_again_when_it_is_closed() {
        let device = tempfile::NamedTempFile::new().unwrap();
        let tries = Cell::new(0);
        let held = Cell::new(Some(File::open(device.path()).unwrap()));

        let opened = in_a_runtime(open_when_free(
            device.path(),
            Instant::now() + Duration::from_secs(5),
            Trace::silent(),
            async || {
                tries.set(tries.get() + 1);
                if tries.get() == 2 {
                    drop(held.take());
                    return Ok(Attempt::Busy);
                }
                Ok(if tries.get() == 1 { Attempt::Busy } else { Attempt::Open(Instant::now()) })
            },
        ));

        assert!(opened.is_ok());
        assert_eq!(tries.get(), 3, "the closing ends the wait");
    }

    #[test]
    fn a_port_that_stays_busy_names_its_holder_at_the_deadline() {
        let device = tempfile::NamedTempFile::new().unwrap();

        let deadline = Instant::now() + Duration::from_millis(120);
        let result: Result<(), _> =
            in_a_runtime(open_when_free(device.path(), deadline, Trace::silent(), async || {
                Ok(Attempt::Busy)
            }));

        let Err(PortError::Busy { holder, .. }) = result else { panic!("not busy") };
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    }

    #[test]
    fn tries_that_close_the_busy_port_themselves_do_not_spin() {
        let device = tempfile::NamedTempFile::new().unwrap();
        let deadline = Instant::now() + Duration::from_millis(300);
        let tries = Cell::new(0);

        let result: Result<(), _> =
            in_a_runtime(open_when_free(device.path(), deadline, Trace::silent(), async || {
                tries.set(tries.get() + 1);
                drop(File::open(device.path())?);
                Ok(Attempt::Busy)
            }));

        assert!(matches!(result, Err(PortError::Busy { .. })));
        assert!(tries.get() <= 35, "no spinning: {} tries", tries.get());
    }

    #[test]
    fn the_name_of_a_holder_does_nothing_to_the_terminal() {
        let device = tempfile::NamedTempFile::new().unwrap();
        let name = fs::read("/proc/self/comm").unwrap();
        fs::write("/proc/self/comm", b"a\x1b[2J\n\xffb").unwrap();

        let told = holder(device.path());

        fs::write("/proc/self/comm", name).unwrap();
        assert!(told.starts_with("a [2J \u{fffd}b (process "), "{told:?}");
    }

    #[test]
    fn a_host_that_stays_away_is_told_at_the_deadline() {
        let deadline = Instant::now() + Duration::from_millis(120);
        let tries = Cell::new(0);

        let result: Result<(), _> =
            in_a_runtime(open_when_free(Path::new("/dev/none"), deadline, Trace::silent(), async || {
                tries.set(tries.get() + 1);
                Ok(Attempt::Away)
            }));

        assert!(matches!(result, Err(PortError::HostAway { .. })));
        assert!(tries.get() <= 5, "no spinning: {} tries", tries.get());
    }

    #[test]
    fn what_the_kernel_says_is_put_into_words() {
        let error = |kind: io::ErrorKind| explain(Path::new("/dev/x"), kind.into());

        assert!(matches!(error(io::ErrorKind::PermissionDenied), PortError::Denied { .. }));
        assert!(matches!(error(io::ErrorKind::NotFound), PortError::Missing { .. }));
        assert!(matches!(error(io::ErrorKind::InvalidInput), PortError::NotAChannel { .. }));
        assert!(matches!(error(io::ErrorKind::OutOfMemory), PortError::Device { .. }));
    }
}
