//! The table of `docs/compatibility.md` is true: a part of it is made anew and compared.

use fence_vmchannel_tests::Result;
use fence_vmchannel_tests::compat::{Combination, read, run};

const PAGE: &str = include_str!("../../docs/compatibility.md");

#[test]
fn the_table_of_who_can_speak_to_whom_is_as_it_was_written() -> Result<()> {
    let rows = run(&Combination::representative(), |row| println!("{row:?}"))?;

    for row in rows {
        let written = read(PAGE, row.combination);
        assert_eq!(written.as_ref(), Some(&row.cells), "{:?}: run `make compatibility`", row.combination);
    }
    Ok(())
}
