use std::path::{Path, PathBuf};
use std::{env, fs, io};

use fence_vmchannel_fuzz::TARGETS;
use fence_vmchannel_host_agent::journal::records;

/// Files of one target's corpus, and bytes of one file.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 4096;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>().unwrap();
    files.sort();
    files
}

fn holds_for(target: &str, dir: &Path) {
    let target = TARGETS.iter().find(|known| known.name == target).expect(target);
    let files = files_in(dir);

    assert!(!files.is_empty(), "{} is empty", dir.display());
    for file in files {
        eprintln!("{}", file.display()); // the last one printed is the one that failed
        (target.check)(&fs::read(&file).unwrap());
    }
}

macro_rules! every_input_holds {
    ($($test:ident: $target:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            holds_for($target, &corpus().join($target));
        })+

        const REPLAYED: &[&str] = &[$($target),+];
    };
}

every_input_holds! {
    every_kept_stream_of_lines_is_decoded_as_it_should_be: "lines",
    every_kept_request_is_decoded_as_it_should_be: "requests",
    every_kept_reply_is_decoded_as_it_should_be: "replies",
    every_kept_signed_line_is_opened_as_it_should_be: "signing",
    every_kept_note_is_decoded_as_it_should_be: "notes",
    every_kept_domain_is_read_as_it_should_be: "domain-xml",
    every_kept_domain_is_read_by_the_hook_as_it_should_be: "hook-xml",
    every_kept_policy_decides_as_it_is_written: "policy",
    every_kept_settings_file_is_taken_as_it_is_written: "settings",
    every_kept_journal_is_read_as_it_should_be: "journal",
}

#[test]
fn the_golden_lines_hold_as_streams() {
    holds_for("lines", &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/tests/golden"));
}

#[test]
fn a_journal_as_the_agent_writes_it_is_read_whole() {
    let (records, broken) = records(&fs::read(corpus().join("journal/eventful")).unwrap());

    assert_eq!((records.len(), broken), (7, 0), "the format changed: write corpus/journal/eventful anew");
}

#[test]
fn every_target_has_a_corpus_that_is_replayed_and_no_other_is_there() {
    let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let mut sorted: Vec<PathBuf> = targets.iter().map(|name| corpus().join(name)).collect();
    sorted.sort();

    assert_eq!(targets, REPLAYED);
    assert_eq!(files_in(&corpus()), sorted);
}

#[test]
fn a_corpus_is_small() {
    for dir in files_in(&corpus()) {
        let files = files_in(&dir);

        assert!(files.len() <= MOST_FILES, "{}: {} files; run tests/fuzz/keep", dir.display(), files.len());
        for file in files {
            let bytes = fs::metadata(&file).unwrap().len();
            assert!(bytes <= MOST_BYTES, "{}: {bytes} bytes", file.display());
        }
    }
}
