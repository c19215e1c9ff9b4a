//! `docs/compatibility.md`.
//!
//! In:  rows. Out: the page's text; and the rows of such a text.

use std::fmt::Write;

use super::{Action, Combination, Row};

const HEAD: &str = include_str!("page.txt");

/// The whole page.
#[must_use]
pub fn page(rows: &[Row], peers: &str) -> String {
    let mut page = HEAD.replace("PEERS", peers);
    // writing to a string cannot fail
    write!(page, "\n| way | server | client | hash |").ok();
    Action::ALL.iter().for_each(|action| page += &format!(" {} |", action.word()));
    page += "\n|---|---|---|---|";
    Action::ALL.iter().for_each(|_| page += "---|");
    page.push('\n');
    for row in rows {
        writeln!(page, "{}{} |", head(row.combination), row.cells.join(" | ")).ok();
    }
    page
}

/// The cells of a combination in a page.
#[must_use]
pub fn read(page: &str, combination: Combination) -> Option<Vec<String>> {
    let head = head(combination);
    let line = page.lines().find_map(|line| line.strip_prefix(&head))?;
    Some(line.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
}

fn head(one: Combination) -> String {
    format!("| {} | {} | {} | {} | ", one.way.word(), one.server.word(), one.client.word(), one.hash_word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let cells = |text: &str| vec![text.to_owned(); Action::ALL.len()];
        let all = Combination::all();
        let rows: Vec<Row> = (0..all.len())
            .map(|number| Row { combination: all[number], cells: cells(&format!("exit {number}")) })
            .collect();

        let page = page(&rows, "these");

        for row in rows {
            assert_eq!(read(&page, row.combination), Some(row.cells));
        }
    }
}
