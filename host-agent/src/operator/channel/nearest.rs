//! Names like the one that was typed.
//!
//! In:  a word and the names there are. Out: a hint in words.

/// How many names a hint holds.
const MOST: usize = 3;

/// What was perhaps meant.
pub(super) fn nearest(word: &str, names: &[String]) -> String {
    let mut near: Vec<(usize, &String)> = names.iter().map(|name| (distance(word, name), name)).collect();
    near.sort();
    let limit = word.chars().count() / 3 + 1;
    let near: Vec<String> = near
        .iter()
        .filter(|(far, _)| *far <= limit)
        .take(MOST)
        .map(|(_, name)| format!("{name:?}"))
        .collect();
    match near.as_slice() {
        [] => "see `virsh list --all`".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    }
}

/// How many characters to add, drop or change (Levenshtein), not counting case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, from) in a.to_lowercase().chars().enumerate() {
        let mut left = line + 1;
        let mut next = vec![left];
        for (to, above) in b.iter().zip(row.windows(2)) {
            let [diagonal, up] = above else { continue };
            left = (diagonal + usize::from(from != *to)).min(up + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_the_characters_to_change() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("Web1", "web1"), 0);
    }

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        let names = ["web1", "web2", "database"].map(str::to_owned);

        assert_eq!(nearest("wbe1", &names), "did you mean \"web1\"?");
        assert_eq!(nearest("weba", &names), "did you mean \"web1\" or \"web2\"?");
        assert_eq!(nearest("mail", &names), "see `virsh list --all`");
    }
}
