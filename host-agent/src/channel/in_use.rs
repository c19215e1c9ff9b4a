//! Which of the host's Unix sockets somebody uses, looked at for all channels at once.
//!
//! In:  `/proc/net/unix`. Out: whether somebody is served, or waits, at a path.
//!
//! Invariant: however many channels ask, the table is read and taken apart at most every [`AGE`], and never on the runtime's
//! own thread: with ten thousand sockets it has a megabyte.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// How old an answer may be.
const AGE: Duration = Duration::from_millis(500);

/// The last look.
#[derive(Debug, Default)]
pub(super) struct InUse(Mutex<Option<(Instant, Arc<Table>)>>);

/// The paths at which somebody is connected.
///
/// The kernel lists a connection that was not accepted yet as state 02 (`SS_CONNECTING`) under the listener's path in
/// `/proc/net/unix`, and one that was as 03 (`SS_CONNECTED`; `net/unix/af_unix.c`, `unix_seq_show`).
#[derive(Debug, Default)]
pub(super) struct Table {
    waiting: HashSet<PathBuf>,
    served: HashSet<PathBuf>,
}

impl InUse {
    /// How the sockets are now, or were [`AGE`] ago.
    pub(super) async fn look(&self) -> Arc<Table> {
        self.look_at("/proc/net/unix".into()).await
    }

    async fn look_at(&self, table: PathBuf) -> Arc<Table> {
        let mut last = self.0.lock().await;
        if let Some((_, table)) = last.as_ref().filter(|(begun, _)| begun.elapsed() < AGE) {
            return table.clone();
        }
        let begun = Instant::now();
        // A name may have any bytes, and whoever chose it is nobody that we know.
        let read = move || std::fs::read(table).map(|bytes| Table::of(&String::from_utf8_lossy(&bytes)));
        let read = spawn_blocking(read).await;
        let table = Arc::new(read.ok().and_then(Result::ok).unwrap_or_default());
        *last = Some((begun, table.clone()));
        table
    }
}

impl Table {
    fn of(text: &str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            let Some((state, path)) = state_and_path(line) else { continue };
            match (state, path) {
                ("02", path) => drop(table.waiting.insert(path.into())),
                ("03", path) => drop(table.served.insert(path.into())),
                _ => {}
            }
        }
        table
    }

    /// Whether somebody connected to this socket waits to be served: QEMU serves one connection and lets the others wait.
    pub(super) fn somebody_waits(&self, path: &Path) -> bool {
        self.waiting.contains(path)
    }

    /// Whether somebody is served on this socket.
    pub(super) fn somebody_is_served(&self, path: &Path) -> bool {
        self.served.contains(path)
    }
}

/// The sixth field, and the rest of the line after the seventh: a path may have blanks in it, as a domain's name may.
fn state_and_path(line: &str) -> Option<(&str, &str)> {
    let (mut fields, mut rest) = ([""; 7], line);
    for field in &mut fields {
        (*field, rest) = rest.trim_start().split_once(' ')?;
    }
    let [.., state, _inode] = fields;
    Some((state, rest))
}

#[cfg(test)]
mod tests {
    use nix::time::{ClockId, clock_gettime};

    use super::*;

    #[test]
    fn who_waits_and_who_is_served_are_told_apart_and_listeners_are_neither() {
        let table = Table::of(
            "Num       RefCount Protocol Flags    Type St Inode Path\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 100 /run/a.sock\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 101 /run/a.sock\n\
             0000000000000000: 00000003 00000000 00000000 0001 02 102 /run/b.sock\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 103\n\
             0000000000000000: 00000003 00000000 00000000 0001 03    9 /run/domain-1-my vm/d.sock\n",
        );

        let of =
            |path: &str| (table.somebody_is_served(Path::new(path)), table.somebody_waits(Path::new(path)));
        assert_eq!(
            [of("/run/a.sock"), of("/run/b.sock"), of("/run/c.sock"), of("/run/domain-1-my vm/d.sock")],
            [(true, false), (false, true), (false, false), (true, false)]
        );
    }

    #[tokio::test]
    async fn a_name_that_is_no_text_hides_no_other_socket() {
        let mut text = b"0000000000000000: 00000003 00000000 00000000 0001 03 1 @\xff\xfe\n".to_vec();
        text.extend(b"0000000000000000: 00000003 00000000 00000000 0001 03 2 /run/a.sock\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();

        let table = InUse::default().look_at(file.path().into()).await;

        assert!(table.somebody_is_served(Path::new("/run/a.sock")));
    }

    #[tokio::test]
    async fn a_long_table_takes_no_time_of_the_runtimes_own_thread() {
        let spent = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
        let line = |number: u32| {
            format!("0000000000000000: 00000003 00000000 00000000 0001 03 1 /run/{number}.sock\n")
        };
        let text: String = (0..50_000).map(line).collect();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("unix");
        std::fs::write(&file, &text).unwrap();
        let begun = spent();
        let _ = Table::of(&text);
        let alone = spent() - begun;

        let begun = spent();
        let table = InUse::default().look_at(file).await;
        let took = spent() - begun;

        assert!(table.somebody_is_served(Path::new("/run/49999.sock")));
        assert!(took < alone / 4, "{took:?}, reading it takes {alone:?}");
    }
}
