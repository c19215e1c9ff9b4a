//! Tables for people: columns as wide as their widest cell.
//!
//! In:  rows of text. Out: lines.
//!
//! Invariant: no control character of a name or path reaches the terminal.

use std::io::{self, Write};

/// A table with a heading.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    #[must_use]
    pub fn new<const COLUMNS: usize>(headings: [&str; COLUMNS]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    /// Adds a row; an empty cell is shown as `-`.
    pub fn row<const COLUMNS: usize>(&mut self, cells: [String; COLUMNS]) {
        self.rows
            .push(cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { plain(&cell) }).to_vec());
    }

    /// Writes the table, two spaces between columns, none at the end of a line.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// The text with every control character shown as its escape.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        if c.is_control() {
            plain.extend(c.escape_default())
        } else {
            plain.push(c)
        }
        plain
    })
}

/// The text as one word of a shell, so that a printed command can be pasted.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let simple = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '+' | '@');
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(simple) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(table: &Table) -> String {
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_empty_cells_are_marked() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["web1".into(), "on".into()]);
        table.row(["webserver2".into(), String::new()]);

        assert_eq!(written(&table), "NAME        STATE\nweb1        on\nwebserver2  -\n");
    }

    #[test]
    fn a_terminal_escape_in_a_name_is_shown_and_not_sent() {
        let mut table = Table::new(["NAME"]);
        table.row(["a\u{1b}[31m".into()]);

        assert_eq!(written(&table), "NAME\na\\u{1b}[31m\n");
    }

    #[test]
    fn a_word_that_a_shell_would_split_is_quoted() {
        assert_eq!(shell_word("web-1"), "web-1");
        assert_eq!(shell_word("it's a & b"), "'it'\\''s a & b'");
    }
}
