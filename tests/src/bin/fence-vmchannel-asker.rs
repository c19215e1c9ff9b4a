//! Somebody whom the agent takes for a domain's QEMU: it connects where it is told to and lives on.
//! It is started by [`fence_vmchannel_tests::Asker`], which holds the other half.
//!
//! In:  as arguments `-uuid UUID`, as any QEMU has them; on stdin, lines with the path of a socket.
//! Out: for each line, the number of the connected descriptor, or `error REASON`. An earlier one is closed before.

use std::io::{BufRead, Result, Write, stdin, stdout};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

fn main() -> Result<()> {
    let mut _held;
    for path in stdin().lock().lines() {
        _held = None;
        let connected = UnixStream::connect(path?);
        let mut answers = stdout().lock();
        match &connected {
            Ok(stream) => writeln!(answers, "{}", stream.as_raw_fd())?,
            Err(error) => writeln!(answers, "error {error}")?,
        }
        answers.flush()?;
        _held = connected.ok();
    }
    Ok(())
}
