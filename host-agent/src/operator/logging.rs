//! Where the agent's own words go: stderr, which systemd takes into the journal.
//!
//! In:  `FENCE_VMCHANNEL_LOG` (a level, or `target=level,...`; default `info`). Out: lines on stderr.
//!
//! Invariant: a log that hangs holds nobody up: once [`in_the_background`] was called, whoever logs waits for nothing, lines that
//! find no room are left out, and how many is told.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

/// The variable that sets what is logged.
pub const VARIABLE: &str = "FENCE_VMCHANNEL_LOG";

/// So many lines wait for a log that hangs.
const ROOM: usize = 4096;
/// How long the last lines are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The thread that writes, once there is one.
static WRITER: OnceLock<SyncSender<Piece>> = OnceLock::new();
/// Lines that found no room since it was told last.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

enum Piece {
    Line(Vec<u8>),
    /// Tells when all before it is written.
    Mark(SyncSender<()>),
}

/// Starts logging. A filter that cannot be read is told, and `info` holds.
pub fn start() {
    let told = std::env::var(VARIABLE).unwrap_or_default();
    let filter = if told.is_empty() { Ok(EnvFilter::new("info")) } else { EnvFilter::try_new(&told) };
    let wrong = filter.as_ref().err().map(ToString::to_string);
    let log = tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("info")))
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false) // it would print them to the same stderr, and panic where that is closed
        .with_writer(|| Log);
    // The journal has its own clock. A second start (in one process) changes nothing.
    let _ = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().try_init(),
        None => log.try_init(),
    };
    if let Some(text) = wrong {
        tracing::warn!("{VARIABLE}={told:?} is not used ({text}): expected for example info or debug");
    }
}

/// Has a thread write from now on: the disk under the journal may be the very one that hangs.
pub fn in_the_background() -> io::Result<()> {
    let (sender, pieces) = sync_channel(ROOM);
    if WRITER.set(sender).is_ok() {
        std::thread::Builder::new().name("log".into()).spawn(move || write(&pieces, &mut io::stderr()))?;
        std::panic::set_hook(Box::new(|panic| drop(writeln!(Log, "{panic}"))));
    }
    Ok(())
}

/// Waits for what was said last, but not for a log that hangs.
pub fn finish() {
    let Some(writer) = WRITER.get() else { return };
    let (until, (mark, written)) = (Instant::now() + LAST_WORDS, sync_channel(1));
    while writer.try_send(Piece::Mark(mark.clone())).is_err() && Instant::now() < until {
        std::thread::sleep(LAST_WORDS / 100); // it is full
    }
    let _ = written.recv_timeout(until.saturating_duration_since(Instant::now())); // it hangs
}

/// Nobody may read what is written any more: that is the one error that cannot be told.
fn write(pieces: &Receiver<Piece>, log: &mut dyn Write) {
    for piece in pieces {
        match piece {
            Piece::Line(line) => drop(log.write_all(&line)),
            Piece::Mark(mark) => drop(mark.send(())),
        }
        let count = LEFT_OUT.swap(0, Ordering::Relaxed);
        if count > 0 {
            drop(writeln!(log, "{count} lines are left out here: the log did not take them"));
        }
    }
}

/// Where lines go, also those that are no events: each is one write.
pub struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(writer) = WRITER.get() else { return io::stderr().write(line) };
        if writer.try_send(Piece::Line(line.to_vec())).is_err() {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_lines_found_no_room_is_told_once_and_the_last_ones_are_waited_for() {
        let (sender, pieces) = sync_channel(ROOM);
        let (mark, written) = sync_channel(1);
        let said = ["one\n", "two\n"].map(|line| Piece::Line(line.into()));
        said.into_iter().chain([Piece::Mark(mark)]).for_each(|piece| sender.send(piece).unwrap());
        drop(sender);
        LEFT_OUT.store(7, Ordering::Relaxed);
        let mut log = Vec::new();

        write(&pieces, &mut log);

        let log = String::from_utf8(log).unwrap();
        assert_eq!(log, "one\n7 lines are left out here: the log did not take them\ntwo\n");
        assert!(written.try_recv().is_ok());
    }
}
