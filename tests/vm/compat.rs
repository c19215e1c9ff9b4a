//! The table of `docs/compatibility.md` is true: a part of it is made anew and compared.

use fence_vmchannel_tests::Result;
use fence_vmchannel_tests::compat::{Combination, Row, read, run};

const PAGE: &str = include_str!("../../docs/compatibility.md");
/// fence_virtd and its clients have fixed times of less than a second here and there: on a busy machine a row may need more than
/// one try. What is false is false at once.
const TRIES: usize = 3;

fn is_as_written(row: &Row) -> bool {
    assert!(!row.cells.iter().any(|cell| cell.starts_with("false")), "{row:?}");
    read(PAGE, row.combination).as_ref() == Some(&row.cells)
}

#[test]
fn the_table_of_who_can_speak_to_whom_is_as_it_was_written() -> Result<()> {
    let mut open = Combination::representative();

    for tried in 1..=TRIES {
        match run(&open, |row| println!("{row:?}")) {
            Ok(rows) => {
                let other = rows.into_iter().filter(|row| !is_as_written(row));
                open = other.map(|row| row.combination).collect();
            }
            Err(error) if tried < TRIES => println!("the lab failed, and is made anew: {error}"),
            Err(error) => return Err(error),
        }
        if open.is_empty() {
            return Ok(());
        }
    }
    panic!("not as written, {TRIES} times: {open:?}; run `make compatibility`")
}
