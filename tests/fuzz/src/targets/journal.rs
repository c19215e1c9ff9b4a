//! The journal of orders.
//!
//! Properties: a journal that is cut anywhere has lost at most the line that was cut; a record that was read is written and
//! read again as the same; opened again, a journal knows the same orders, and nothing that it was not told, and takes no
//! more room; of another boot of the host it knows nothing.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use fence_vmchannel_host_agent::arbiter::OrderNumber;
use fence_vmchannel_host_agent::journal::{Journal, Known, Record, Store, records};

use crate::oracle::crc32c;

pub(crate) fn check(input: &[u8]) {
    one_journal(input);
    one_journal(&mended(input));
}

fn one_journal(content: &[u8]) {
    let (all, broken) = records(content);
    assert!(all.len() + broken <= content.len());
    for cut in [content.len() / 3, content.len() / 2, content.len().saturating_sub(1)] {
        loses_one_line_at_most(content.get(..cut).unwrap_or_default(), &all);
    }
    for record in &all {
        is_written_as_it_was_read(record);
    }
    for boot in boots(&all) {
        is_known_again(content, &all, &boot);
    }
}

/// The records of the lines that are whole, and perhaps that of the one which only lacks its newline.
fn loses_one_line_at_most(torn: &[u8], all: &[Record]) {
    let whole_lines = torn.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let (of_whole_lines, _) = records(torn.get(..whole_lines).unwrap_or_default());
    let (read, _) = records(torn);

    assert!(all.starts_with(&of_whole_lines) && read.starts_with(&of_whole_lines));
    assert!(read.len() <= of_whole_lines.len() + 1);
}

fn is_written_as_it_was_read(record: &Record) {
    let line = record.to_line().unwrap_or_default();
    let (json, newlines) = (line.strip_suffix(b"\n"), line.iter().filter(|&&byte| byte == b'\n').count());
    assert_eq!(newlines, 1, "{record:?}");
    let mut of_other_json = json.map(<[u8]>::to_vec).unwrap_or_default();
    if let Some(digit) = of_other_json.first_mut() {
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
    assert_eq!(Record::from_line(&of_other_json), None, "under another line's CRC");

    let again = json.and_then(Record::from_line);

    // A verdict's `detail` is cut where it is written, so the second line is the one to compare.
    assert_eq!(again.and_then(|again| again.to_line().ok()), Some(line), "{record:?}");
}

fn is_known_again(content: &[u8], all: &[Record], boot: &str) {
    let disk = Disk::default();
    let first = told(&Journal::open(Box::new(disk.clone()), content, boot));
    for (number, known) in &first {
        let told = |record: &Record| matches!(record, Record::Acting(acting) if acting.order == *number);
        assert!(all.iter().any(told), "nobody told of order {number}");
        let ended = |record: &Record| matches!(record, Record::Ended { order, .. } if order == number);
        assert!(known.ended.is_none() || all.iter().any(ended), "nobody told of the end of order {number}");
    }

    let rewritten = disk.content();
    let second = told(&Journal::open(Box::new(disk.clone()), &rewritten, boot));
    let other = Journal::open(Box::new(Disk::default()), &rewritten, "another boot of this host");

    assert_eq!(disk.content(), rewritten, "and it stays so");
    assert_eq!(keys(&first), keys(&second));
    assert!(rewritten.len() <= 200 + 4 * content.len(), "{} of {}", rewritten.len(), content.len());
    assert_eq!(other.orders().count(), 0);
}

/// Each order, whether it ended, how many wait for it, and how many had another answer.
fn keys(orders: &[(OrderNumber, Known)]) -> Vec<(OrderNumber, bool, usize, usize)> {
    let key = |(number, known): &(OrderNumber, Known)| {
        (*number, known.ended.is_some(), known.acting.askers.len(), known.answered.len())
    };
    orders.iter().map(key).collect()
}

fn told(journal: &Journal) -> Vec<(OrderNumber, Known)> {
    journal.orders().map(|(number, known)| (number, known.clone())).collect()
}

/// The boots that a journal tells of; the fuzzer's dictionary knows how to write one.
fn boots(all: &[Record]) -> Vec<String> {
    let boot = |record: &Record| if let Record::Host { boot } = record { Some(boot.clone()) } else { None };
    all.iter().filter_map(boot).take(2).collect()
}

/// The journal with each line's CRC made right, since no mutation would ever hit it.
fn mended(content: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = content.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    for line in lines.iter_mut().filter(|line| line.get(8) == Some(&b' ')) {
        let json = line.split_off(9);
        *line = [format!("{:08x} ", crc32c(&json)).as_bytes(), &json].concat();
    }
    lines.join(&b'\n')
}

/// What a journal wrote.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl Disk {
    fn content(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store for Disk {
    fn append(&mut self, bytes: &[u8], _spare: u64) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8], _spare: u64) -> io::Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes.to_vec();
        Ok(())
    }
}
