//! Tables and code of the Markdown documents.

use super::roff;

/// The cells of the first table below a heading, without its head.
pub(crate) fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let below = document.lines().skip_while(|line| *line != heading).skip(1);
    let rows = below.take_while(|line| !line.starts_with("## ")).skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    // A cell may be empty, and `\|` is no end of one.
    rows.map(|row| row.trim_matches('|').split(" |").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The first block of code in this language below a heading.
pub(crate) fn code(document: &str, heading: &str, language: &str) -> String {
    let fence = format!("```{language}");
    let below = document.lines().skip_while(|line| *line != heading);
    let block = below.skip_while(|line| *line != fence).skip(1).take_while(|line| *line != "```");
    block.collect::<Vec<_>>().join("\n")
}

/// A piece of Markdown inside a line, as roff.
pub(crate) fn inline(markdown: &str) -> String {
    let mut roff = String::new();
    let without_links = links(markdown);
    for (number, piece) in without_links.split('`').enumerate() {
        match number % 2 {
            0 => roff.push_str(&roff::text(&piece.replace("**", "").replace("\\|", "|"))),
            _ => roff.push_str(&roff::bold(piece)),
        }
    }
    roff::guarded(&roff)
}

/// `[text](target)` becomes its text.
fn links(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((shown, after)) = link.split_once("](").and_then(|(s, t)| Some((s, t.split_once(')')?.1)))
        else {
            break;
        };
        text.push_str(before);
        text.push_str(shown);
        rest = after;
    }
    text.push_str(rest);
    text
}
