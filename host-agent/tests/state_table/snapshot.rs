//! The comparison with what people have read.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::scene::{Scene, changed, steady};
use crate::table::{lines, text};

#[test]
fn every_state_of_a_target_has_the_answers_that_people_have_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state_table/expected.txt");
    let now = text();
    if std::env::var_os("FENCE_TEST_BLESS").is_some() {
        fs::write(&file, &now).unwrap();
    }

    let expected = fs::read_to_string(&file).unwrap_or_default();

    assert!(
        expected == now,
        "the state table has changed:\n\n{}\nIf each of these lines is right, accept them by\n  FENCE_TEST_BLESS=1 cargo test -p \
         fence-vmchannel-host-agent --test state_table\nand review the change of {} with your own.",
        difference(&expected, &now),
        file.display()
    );
}

#[test]
fn no_scene_is_asked_twice_or_left_out() {
    let scenes: Vec<Scene> = steady().into_iter().chain(changed()).collect();

    assert_eq!(lines().len(), scenes.len());
    for (number, scene) in scenes.iter().enumerate() {
        assert!(!scenes[..number].contains(scene), "{scene:?}");
    }
}

/// The lines that only one of them has, in their order. Lines of the same words are equal, however they are aligned.
fn difference(old: &str, new: &str) -> String {
    let plain = |text: &str| -> Vec<String> { text.lines().map(unaligned).collect() };
    let (old, new) = (plain(old), plain(new));
    let mut text = String::new();
    for line in old.iter().filter(|line| !new.contains(line)) {
        writeln!(text, "- {line}").unwrap();
    }
    for line in new.iter().filter(|line| !old.contains(line)) {
        writeln!(text, "+ {line}").unwrap();
    }
    text
}

fn unaligned(line: &str) -> String {
    let words: Vec<_> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    words.join("  ")
}
