//! Policy files: `policy.d/*.toml`, in the order of their names, and the keys that they name.
//!
//! In:  a directory. Out: the rules, and a [`Problem`] for each file that is not used.
//!
//! Invariant: a broken file is unused as a whole. If it has a `[[deny]]` or a `[[signed]]`, what it closed cannot be known, and
//! nothing is allowed until it is mended; it never means "open". A key that cannot be used opens nothing either: whoever has to
//! sign with it still has to.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::keys::{KeyRule, ListedKey, beside};
use super::rule::{Action, Rule, Selector};
use super::{Policy, key_file};

/// A file that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line, and what was expected.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not used: {}", self.file.display(), self.text)
    }
}

/// What was found in a policy directory.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The rules that hold.
    pub policy: Policy,
    /// The files that are not used.
    pub problems: Vec<Problem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    groups: HashMap<String, Vec<String>>,
    #[serde(default)]
    allow: Vec<Spanned<RuleTable>>,
    #[serde(default)]
    deny: Vec<Spanned<RuleTable>>,
    #[serde(default)]
    signed: Vec<Spanned<SignedTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    from: Vec<String>,
    to: Vec<String>,
    actions: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedTable {
    from: Vec<String>,
    keys: Vec<KeyTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    id: String,
    file: String,
    actions: Option<Vec<String>>,
}

/// What one file says.
struct Said {
    rules: Vec<Rule>,
    key_rules: Vec<KeyRule>,
    /// Of its keys' files.
    problems: Vec<Problem>,
}

/// `before` are the rules that hold: those of a directory that was there.
pub(super) fn load(dir: &Path, before: &Policy) -> Loaded {
    let is_gone = |error: &Error| error.kind() == ErrorKind::NotFound;
    let files = match files_of(dir) {
        Ok(files) => files,
        Err(error) if is_gone(&error) && before.is_empty() => return Loaded::default(),
        Err(error) => {
            let mut loaded = Loaded::default();
            let text = if is_gone(&error) {
                "it is gone: to drop its rules, make the directory again, empty".to_owned()
            } else {
                format!("cannot read the policy directory: {error}")
            };
            loaded.policy.closed = Some(format!("nothing is allowed: {}: {text}", dir.display()));
            loaded.problems.push(Problem { file: dir.to_owned(), text });
            return loaded;
        }
    };
    read(files.into_iter().map(|file| (std::fs::read_to_string(&file), file)))
}

/// The rules in these files' texts, in their order, with the keys that they name.
pub(super) fn read(files: impl IntoIterator<Item = (std::io::Result<String>, PathBuf)>) -> Loaded {
    let mut loaded = Loaded::default();
    for (text, file) in files {
        // TOML may write any key with escapes.
        let names = |text: &str| ["deny", "signed", "\\"].iter().any(|word| text.contains(word));
        let may_close = |text: &String| is_emptied(text) || names(text);
        let may_deny = text.as_ref().map_or(true, may_close);
        match text.map_err(|e| format!("cannot be read: {e}")).and_then(|text| parse(&text, &file)) {
            Ok(said) => {
                loaded.policy.rules.extend(said.rules);
                loaded.policy.key_rules.extend(said.key_rules);
                loaded.problems.extend(said.problems);
            }
            Err(text) => {
                let problem = Problem { file, text };
                if may_deny {
                    loaded.policy.closed =
                        Some(format!("nothing is allowed until a file that may deny is mended: {problem}"));
                }
                loaded.problems.push(problem);
            }
        }
    }
    loaded
}

fn files_of(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    Ok(files)
}

/// Whoever rewrites a file in its place empties it first, and a crash may leave it so: what it said is lost.
fn is_emptied(text: &str) -> bool {
    text.trim().is_empty()
}

fn parse(text: &str, path: &Path) -> Result<Said, String> {
    if is_emptied(text) {
        return Err("it is empty: delete it to drop its rules, or leave a comment in it".into());
    }
    let file: PolicyFile = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    let line_of = |start| 1 + text.bytes().take(start).filter(|&b| b == b'\n').count();
    let allow = file.allow.iter().map(|rule| (false, rule));
    let deny = file.deny.iter().map(|rule| (true, rule));
    let rules = allow.chain(deny).map(|(deny, spanned)| {
        let line = line_of(spanned.span().start);
        let table = spanned.get_ref();
        let at_line = |error: String| format!("line {line}: {error}");
        Ok(Rule {
            deny,
            from: selectors(&table.from, &file.groups).map_err(at_line)?,
            to: selectors(&table.to, &file.groups).map_err(at_line)?,
            actions: actions(table.actions.as_deref()).map_err(at_line)?,
            place: format!("{}:{line}", path.display()),
        })
    });
    let mut said = Said { rules: rules.collect::<Result<_, String>>()?, key_rules: vec![], problems: vec![] };
    for spanned in &file.signed {
        let line = line_of(spanned.span().start);
        let (table, place) = (spanned.get_ref(), format!("{}:{line}", path.display()));
        let at_line = |error: String| format!("line {line}: {error}");
        let from = selectors(&table.from, &file.groups).map_err(at_line)?;
        let keys = keys(&table.keys, path, &mut said.problems).map_err(at_line)?;
        said.key_rules.push(KeyRule { from, keys, place });
    }
    Ok(said)
}

/// A rule without keys is one too: nobody may act then.
fn keys(tables: &[KeyTable], path: &Path, problems: &mut Vec<Problem>) -> Result<Vec<ListedKey>, String> {
    let (mut keys, mut ids) = (Vec::new(), HashSet::new());
    for table in tables {
        let id = table.id.parse().map_err(|error| format!("key {:?}: {error}", table.id))?;
        if !ids.insert(table.id.as_str()) {
            return Err(format!("key {:?} is listed twice: give each key an id of its own", table.id));
        }
        let actions = actions(table.actions.as_deref())?;
        let file = beside(path, &table.file);
        let key = match key_file::read(&file) {
            Ok(key) => Some(Arc::new(key)),
            Err(text) => {
                problems.push(Problem { file: file.clone(), text });
                None
            }
        };
        keys.push(ListedKey { id, file, key, actions });
    }
    Ok(keys)
}

fn actions(words: Option<&[String]>) -> Result<Vec<Action>, String> {
    match words {
        None => Ok(Action::ALL.to_vec()),
        Some([]) => Err("`actions` names at least one action; leave it out for all of them".into()),
        Some(words) => words.iter().map(|word| word.parse()).collect(),
    }
}

fn selectors(words: &[String], groups: &HashMap<String, Vec<String>>) -> Result<Vec<Selector>, String> {
    if words.is_empty() {
        return Err("`from` and `to` name at least one domain, UUID, @group, cluster:LABEL or *".into());
    }
    let mut selectors = Vec::new();
    for word in words {
        let Some(group) = word.strip_prefix('@') else {
            selectors.push(word.parse()?);
            continue;
        };
        let members =
            groups.get(group).ok_or_else(|| format!("no group {group:?} in this file's [groups]"))?;
        for member in members {
            if member.starts_with('@') {
                return Err(format!("group {group:?} has {member:?} in it: a group has no groups"));
            }
            selectors.push(member.parse()?);
        }
    }
    Ok(selectors)
}
