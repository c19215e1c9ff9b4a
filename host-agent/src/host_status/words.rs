//! Numbers into words.
//!
//! In:  ranges as the settings write them: `"0" = "lost"`, `"1..999" = "poor"`, `"1000.." = "ok"`. Out: the word for a
//! number.
//!
//! Invariant: no two ranges overlap, so a number has one word; one that is in no range has none.

use std::collections::BTreeMap;

use fence_vmchannel_protocol::PlainText;

/// What numbers are called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words(Vec<Range>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    least: i64,
    most: i64,
    word: PlainText,
    written: String,
}

impl Words {
    /// The words for these ranges.
    pub(super) fn read(table: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut ranges =
            table.iter().map(|(range, word)| Range::read(range, word)).collect::<Result<Vec<_>, _>>()?;
        ranges.sort_by_key(|range| range.least);
        for (lower, upper) in ranges.iter().zip(ranges.iter().skip(1)) {
            if lower.most >= upper.least {
                return Err(format!("words {:?} and {:?} overlap", lower.written, upper.written));
            }
        }
        Ok(Self(ranges))
    }

    /// Whether a value is told as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The word for this number; decimals are cut off (towards zero).
    #[must_use]
    pub fn of(&self, number: &str) -> Option<&PlainText> {
        let number = whole(number)?;
        self.0.iter().find(|range| (range.least..=range.most).contains(&number)).map(|range| &range.word)
    }

    /// As the settings write them.
    pub(super) fn written(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|range| (range.written.as_str(), range.word.as_str()))
    }
}

impl Range {
    fn read(range: &str, word: &str) -> Result<Self, String> {
        let wrong =
            || format!("words {range:?}: expected a whole number, \"A..B\", \"A..\" or \"..B\", A at most B");
        let end = |text: &str, open: i64| match text.trim() {
            "" => Ok(open),
            text => text.parse::<i64>().map_err(|_| wrong()),
        };
        let (least, most) = match range.split_once("..") {
            Some((least, most)) => (end(least, i64::MIN)?, end(most, i64::MAX)?),
            None => {
                let number = range.trim().parse().map_err(|_| wrong())?;
                (number, number)
            }
        };
        if least > most {
            return Err(wrong());
        }
        let word = word.parse().map_err(|error| format!("words {range:?} = {word:?}: {error}"))?;
        Ok(Self { least, most, word, written: range.to_owned() })
    }
}

fn whole(number: &str) -> Option<i64> {
    let number = number.trim();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let is_decimal = !decimals.is_empty() && decimals.bytes().all(|byte| byte.is_ascii_digit());
    whole.parse().ok().filter(|_| is_decimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(table: &[(&str, &str)]) -> Result<Words, String> {
        Words::read(&table.iter().map(|(range, word)| ((*range).to_owned(), (*word).to_owned())).collect())
    }

    fn said(words: &Words, number: &str) -> Option<String> {
        words.of(number).map(ToString::to_string)
    }

    #[test]
    fn a_number_has_the_word_of_the_range_that_it_is_in() {
        let words = words(&[("0", "lost"), ("1..999", "poor"), ("1000..", "ok"), ("..-1", "odd")]).unwrap();

        let table =
            [("0", "lost"), ("1", "poor"), ("999", "poor"), ("999.9", "poor"), ("1000", "ok"), ("-5", "odd")];
        for (number, word) in table {
            assert_eq!(said(&words, number).as_deref(), Some(word), "{number}");
        }
        assert_eq!(said(&words, &i64::MAX.to_string()).as_deref(), Some("ok"));
    }

    #[test]
    fn what_is_no_number_or_in_no_range_has_no_word() {
        let words = words(&[("0", "lost"), ("10..", "ok")]).unwrap();

        for number in ["", "5", "ten", "0x10", "1e3", "10.", "10.x", "99999999999999999999", "10 11", "-"] {
            assert_eq!(said(&words, number), None, "{number:?}");
        }
    }

    #[test]
    fn ranges_that_overlap_or_are_none_are_told_by_what_was_written() {
        for (table, told) in [
            (vec![("0..10", "a"), ("10..", "b")], "\"0..10\" and \"10..\" overlap"),
            (vec![("5", "a"), ("..", "b")], "overlap"),
            (vec![("9..1", "a")], "\"9..1\""),
            (vec![("one", "a")], "\"one\""),
            (vec![("1", "")], "\"1\" = \"\""),
            (vec![("1", "say \"ok\"")], "printable"),
        ] {
            let error = words(&table).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
