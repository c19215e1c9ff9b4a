//! Reads what libvirt writes to stdin.
//!
//! In:  a file descriptor of any kind, also closed, endless or silent.
//! Out: an [`Input`] with at most one byte more than a note may carry.
//!
//! Invariant: never waits beyond the given moment.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::note::MAX_XML_BYTES;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What was read.
#[derive(Debug, Default)]
pub struct Input {
    /// The bytes that came.
    pub bytes: Vec<u8>,
    /// The end was reached: these are all.
    pub whole: bool,
}

/// Reads until the end, the limit or `until`.
#[must_use]
pub fn read(source: impl AsFd, until: Instant) -> Input {
    let mut input = Input::default();
    let Ok(own) = source.as_fd().try_clone_to_owned() else { return input };
    let mut file = File::from(own);
    let mut chunk = vec![0; 64 * 1024];
    while input.bytes.len() <= MAX_XML_BYTES && is_readable(&file, until) {
        match file.read(&mut chunk) {
            Ok(0) => {
                input.whole = true;
                break;
            }
            Ok(count) => input.bytes.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    input
}

/// Waits until something can be read from `source`, at most until `until`.
fn is_readable(source: &impl AsFd, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    let mut fds = [PollFd::new(source.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, whole_milliseconds(left)), Ok(1..))
}

fn whole_milliseconds(time: Duration) -> PollTimeout {
    PollTimeout::try_from(time.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::ZERO)
}

#[cfg(test)]
mod tests {
    use super::read;
    use fence_vmchannel_protocol::note::MAX_XML_BYTES;
    use std::fs::File;
    use std::io::Write;
    use std::time::{Duration, Instant};

    #[test]
    fn what_does_not_end_in_time_is_not_whole() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut writer = File::from(writer);
        writer.write_all(b"<domain>").unwrap();

        let input = read(reader, Instant::now() + Duration::from_millis(5));

        assert_eq!((input.bytes.as_slice(), input.whole), (b"<domain>".as_slice(), false));
        drop(writer);
    }

    #[test]
    fn an_endless_input_is_cut_at_the_limit() {
        let input = read(File::open("/dev/zero").unwrap(), Instant::now() + Duration::from_secs(10));

        assert!(!input.whole);
        assert!((MAX_XML_BYTES + 1..MAX_XML_BYTES + 70_000).contains(&input.bytes.len()));
    }
}
