use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn a_line_is_given_room_behind_what_is_written_which_is_not_gone_through_again() {
    const LONG: u64 = 64 << 20;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let long = File::create(&path).unwrap();
    long.set_len(LONG).unwrap(); // a hole: room that is made in it shows

    let (mut file, _) = JournalFile::open(&path).unwrap();
    file.append(b"one\n", 100_000).unwrap();

    let after = long.metadata().unwrap();
    let taken = after.blocks() * 512;
    assert_eq!(after.len(), LONG + 4);
    assert!(taken < 1 << 20, "{taken} bytes of room");
}

#[test]
fn nothing_is_written_that_would_not_be_read_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let (mut file, _) = JournalFile::open(&path).unwrap();
    let long = File::create(&path).unwrap();
    long.set_len(MOST - 4).unwrap();

    file.append(b"one\n", 0).unwrap();
    let more = file.append(b"two\n", 0).map_err(|error| error.kind());

    assert_eq!(more, Err(io::ErrorKind::FileTooLarge));
    assert_eq!(long.metadata().unwrap().len(), MOST);
}
