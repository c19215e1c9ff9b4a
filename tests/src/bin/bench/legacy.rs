//! The serial dialect of fence_virt's clients, as far as the bench speaks it.
//!
//! In:  a connected channel, an operation, a target. Out: the result, and the time until it came.
//!
//! Source: `docs/protocol.md` of this project; the structs are little-endian and packed.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const MAGIC: u32 = 0x6162_6261;
const NAME: usize = 64;
const RECORD: usize = 130;
const LIST_FOLLOWS: u8 = 253;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Off = 1,
    Reboot = 2,
    On = 3,
    Status = 4,
    List = 6,
}

/// The end of a question.
pub(crate) struct Said {
    /// 0 is success, or on; 2 is off.
    pub(crate) result: u8,
    /// How many domains were listed.
    pub(crate) listed: usize,
    /// From the first byte sent to the last one read.
    pub(crate) took: Duration,
}

/// A request that was never made before: the same number on the same target would be left unanswered.
pub(crate) fn request(operation: Operation, target: &str) -> Vec<u8> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let mut bytes = Vec::with_capacity(10 + NAME);
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend([operation as u8, 0]);
    bytes.extend(target.bytes().chain(std::iter::repeat(0)).take(NAME));
    bytes.extend(NUMBER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    bytes
}

/// Asks and waits; `None` when no answer comes within `patience`.
pub(crate) fn ask(
    channel: &mut UnixStream,
    operation: Operation,
    target: &str,
    patience: Duration,
) -> io::Result<Option<Said>> {
    channel.set_read_timeout(Some(patience))?;
    let request = request(operation, target);
    let begun = Instant::now();
    channel.write_all(&request)?;
    match answer(channel) {
        Ok((result, listed)) => Ok(Some(Said { result, listed, took: begun.elapsed() })),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn answer(channel: &mut UnixStream) -> io::Result<(u8, usize)> {
    let (mut reply, mut listed) = ([0; 5], 0);
    channel.read_exact(&mut reply)?;
    if reply.ends_with(&[LIST_FOLLOWS]) {
        let mut record = [0; RECORD];
        channel.read_exact(&mut record)?;
        while record != [0; RECORD] {
            listed += 1;
            channel.read_exact(&mut record)?;
        }
        channel.read_exact(&mut reply)?;
    }
    let [m0, m1, m2, m3, result] = reply;
    match u32::from_le_bytes([m0, m1, m2, m3]) {
        MAGIC => Ok((result, listed)),
        _ => Err(io::Error::other("fence_virtd's reply has another magic")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_74_bytes_with_the_magic_first_and_the_name_padded() {
        let bytes = request(Operation::Status, "web1");

        assert_eq!(bytes.len(), 74);
        assert_eq!(&bytes[..10], b"abba\x04\0web1");
        assert_eq!(&bytes[10..70], [0; 60]);
    }

    #[test]
    fn an_answer_to_a_list_is_counted_and_silence_is_no_answer() {
        let (mut asker, mut daemon) = UnixStream::pair().unwrap();
        let mut answer = b"abba\xfd".to_vec();
        answer.extend([[1; RECORD], [2; RECORD], [0; RECORD]].concat());
        answer.extend(b"abba\0");
        daemon.write_all(&answer).unwrap();

        let said = ask(&mut asker, Operation::List, "", Duration::from_secs(5)).unwrap().unwrap();
        let silence = ask(&mut asker, Operation::Status, "x", Duration::from_millis(10)).unwrap();

        assert_eq!((said.result, said.listed), (0, 2));
        assert!(silence.is_none());
    }
}
