//! The grammar of `fence_virt.conf`: sections with sections and values in them.
//!
//! In:  the file's text. Out: a [`Section`] that holds everything, each part with its line.
//!
//! Invariant: what fence_virtd 4.12 does not read is a [`Mistake`] here as well. Names count without regard to case, and of
//! two sections or values of one name the last is the one that counts, as there.

use std::iter::Peekable;
use std::str::CharIndices;

/// A part of the file in braces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    /// `group = "name" { ... }`
    pub(super) label: Option<String>,
    pub(super) line: usize,
    pub(super) values: Vec<Value>,
    pub(super) sections: Vec<Section>,
}

/// `key = "text";`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) line: usize,
}

/// Why the text is no such file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {expected} is expected, but there is {found}; fence_virtd does not start with it either"
)]
pub struct Mistake {
    line: usize,
    expected: &'static str,
    found: String,
}

impl Section {
    /// The sections of this name, in the order of the file.
    pub(super) fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &Self> {
        self.sections.iter().filter(move |section| section.name.eq_ignore_ascii_case(name))
    }

    /// The section of this name that counts.
    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        self.all(name).next_back()
    }

    /// The values of this key, in the order of the file.
    pub(super) fn values(&self, key: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.values.iter().filter(move |value| value.key.eq_ignore_ascii_case(key))
    }

    /// The value of this key that counts.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.values(key).next_back()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

struct Tokens<'a> {
    rest: Peekable<CharIndices<'a>>,
    text: &'a str,
    line: usize,
}

/// What the text says.
pub(super) fn parse(text: &str) -> Result<Section, Mistake> {
    let mut tokens = Tokens { rest: text.char_indices().peekable(), text, line: 1 };
    let mut open = vec![Section { line: 1, ..Section::default() }];
    loop {
        let (token, line) = tokens.next()?;
        match token {
            None if open.len() == 1 => return Ok(open.pop().unwrap_or_default()),
            Some(Token::Mark('}')) if open.len() > 1 => close(&mut open),
            Some(Token::Word(name)) => tokens.part(name, line, &mut open)?,
            other if open.len() > 1 => return Err(mistake(line, "a key, a section or `}`", other)),
            other => return Err(mistake(line, "a section", other)),
        }
    }
}

fn close(open: &mut Vec<Section>) {
    if let Some(done) = open.pop()
        && let Some(outer) = open.last_mut()
    {
        outer.sections.push(done);
    }
}

fn mistake(line: usize, expected: &'static str, found: Option<Token>) -> Mistake {
    let found = match found {
        None => "the end of the file".to_owned(),
        Some(Token::Word(word)) => format!("{word:?}"),
        Some(Token::Text(text)) => format!("the text {text:?}"),
        Some(Token::Mark(mark)) => format!("`{mark}`"),
    };
    Mistake { line, expected, found }
}

impl Tokens<'_> {
    /// What follows a word: `{`, or `=` with a text and then `;` or `{`.
    fn part(&mut self, name: String, line: usize, open: &mut Vec<Section>) -> Result<(), Mistake> {
        let mut section = Section { name, line, ..Section::default() };
        match self.next()? {
            (Some(Token::Mark('{')), _) => open.push(section),
            (Some(Token::Mark('=')), _) => {
                let text = match self.next()? {
                    (Some(Token::Text(text)), _) => text,
                    (other, line) => return Err(mistake(line, "a text in double quotes", other)),
                };
                match self.next()? {
                    (Some(Token::Mark('{')), _) => {
                        section.label = Some(text);
                        open.push(section);
                    }
                    (Some(Token::Mark(';')), _) => {
                        if let Some(outer) = open.last_mut() {
                            outer.values.push(Value { key: section.name, text, line });
                        }
                    }
                    (other, line) => return Err(mistake(line, "`;`", other)),
                }
            }
            (other, line) => return Err(mistake(line, "`=` or `{`", other)),
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(Option<Token>, usize), Mistake> {
        while let Some((at, c)) = self.rest.next() {
            match c {
                '\n' => self.line += 1,
                ' ' | '\t' => {}
                '#' => while self.rest.next_if(|(_, c)| *c != '\n').is_some() {},
                '{' | '}' | ';' | '=' => return Ok((Some(Token::Mark(c)), self.line)),
                '"' => return self.quoted(at),
                _ => return Ok((Some(Token::Word(self.word(at))), self.line)),
            }
        }
        Ok((None, self.line))
    }

    fn quoted(&mut self, at: usize) -> Result<(Option<Token>, usize), Mistake> {
        let line = self.line;
        for (end, c) in self.rest.by_ref() {
            match c {
                '\n' => self.line += 1,
                '"' if end == at + 1 => {
                    return Err(Mistake {
                        line,
                        expected: "a text of at least one character",
                        found: "\"\"".into(),
                    });
                }
                '"' => {
                    let text = self.text.get(at + 1..end).unwrap_or_default();
                    return Ok((Some(Token::Text(text.to_owned())), line));
                }
                _ => {}
            }
        }
        Err(Mistake { line, expected: "a closing `\"`", found: "the end of the file".into() })
    }

    fn word(&mut self, at: usize) -> String {
        let inside = |c: char| !matches!(c, ' ' | '\t' | '\n' | '{' | '}' | ';' | '=' | '"');
        while self.rest.next_if(|(_, c)| inside(*c)).is_some() {}
        let end = self.rest.peek().map_or(self.text.len(), |(end, _)| *end);
        self.text.get(at..end).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_values_and_comments_are_read_with_their_lines() {
        let root =
            parse("# top\na {\n b = \"x # y\"; # c { }\n c = \"l\" {\n  d = \"1\"; d = \"2\";\n }\n}\n")
                .unwrap();

        let a = root.section("A").unwrap();
        let c = a.section("c").unwrap();
        assert_eq!(a.value("B").map(|v| (v.text.as_str(), v.line)), Some(("x # y", 3)));
        assert_eq!((c.label.as_deref(), c.line), (Some("l"), 4));
        assert_eq!(c.value("d").map(|v| v.text.as_str()), Some("2"), "the last one counts");
    }

    #[test]
    fn what_fence_virtd_does_not_read_is_told_with_its_line() {
        for (text, line, words) in [
            ("a {\n b = \"x\"\n}", 3, "`;` is expected, but there is `}`"),
            ("a {\n b = x;\n}", 2, "double quotes"),
            ("a {\n b = \"\";\n}", 2, "at least one character"),
            ("a \"n\" {\n}", 1, "`=` or `{`"),
            ("a {\n", 2, "the end of the file"),
            ("}\n", 1, "a section is expected"),
            ("a { b {};\n}", 1, "there is `;`"),
            ("a = \"x", 1, "a closing"),
            ("a {\r\n}\r\n", 2, "`=` or `{`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}: ")), "{text:?}: {error}");
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
