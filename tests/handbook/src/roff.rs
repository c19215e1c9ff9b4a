//! Text as roff, the language of man pages.
//!
//! Invariant: no text becomes a request: a dot or quote at a line's start is guarded, backslashes are escaped.

/// A text inside a line.
pub(crate) fn text(plain: &str) -> String {
    plain
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('~', "\\(ti")
        .replace('^', "\\(ha")
        .replace('`', "\\(ga")
}

/// A text as lines of its own, each at most one sentence's part long; paragraphs are set apart.
pub(crate) fn paragraphs(plain: &str) -> String {
    let paragraphs = plain.split("\n\n").map(|paragraph| guarded(&text(&paragraph.replace('\n', " "))));
    paragraphs.collect::<Vec<_>>().join("\n.IP\n")
}

/// Lines that stay as they are, without the indentation that all have that have one.
pub(crate) fn example(plain: &str) -> String {
    let indentation = |line: &&str| line.len() - line.trim_start().len();
    let indented = plain.lines().filter(|line| line.starts_with(' '));
    let common = indented.map(|line| indentation(&line)).min().unwrap_or(0);
    let lines = plain.trim_end().lines().map(|line| {
        let line = if line.starts_with(' ') { line.get(common..).unwrap_or(line) } else { line };
        guarded(&text(line))
    });
    format!(".nf\n{}\n.fi\n", lines.collect::<Vec<_>>().join("\n"))
}

pub(crate) fn bold(plain: &str) -> String {
    format!("\\fB{}\\fR", text(plain))
}

pub(crate) fn italic(plain: &str) -> String {
    format!("\\fI{}\\fR", text(plain))
}

/// A line that does not start a request.
pub(crate) fn guarded(line: &str) -> String {
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line.to_owned(),
    }
}
