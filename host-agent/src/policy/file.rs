//! Policy files: `policy.d/*.toml`, in the order of their names.
//!
//! In:  a directory. Out: the rules, and a [`Problem`] for each file that is not used.
//!
//! Invariant: a broken file is unused as a whole. If it has a `[[deny]]`, what it denied cannot be known, and nothing is
//! allowed until it is mended; it never means "open".

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::Policy;
use super::rule::{Action, Rule, Selector};

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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    from: Vec<String>,
    to: Vec<String>,
    actions: Option<Vec<String>>,
}

pub(super) fn load(dir: &Path) -> Loaded {
    let files = match files_of(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Loaded::default(),
        Err(error) => {
            let mut loaded = Loaded::default();
            let text = format!("cannot read the policy directory: {error}");
            loaded.policy.closed = Some(format!("nothing is allowed: {}: {text}", dir.display()));
            loaded.problems.push(Problem { file: dir.to_owned(), text });
            return loaded;
        }
    };
    read(files.into_iter().map(|file| (std::fs::read_to_string(&file), file)))
}

/// The rules in these files' texts, in their order.
pub(super) fn read(files: impl IntoIterator<Item = (std::io::Result<String>, PathBuf)>) -> Loaded {
    let mut loaded = Loaded::default();
    for (text, file) in files {
        // TOML may write any key with escapes.
        let may_deny = text.as_ref().map_or(true, |text| text.contains("deny") || text.contains('\\'));
        match text.map_err(|e| format!("cannot be read: {e}")).and_then(|text| parse(&text, &file)) {
            Ok(rules) => loaded.policy.rules.extend(rules),
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

fn parse(text: &str, path: &Path) -> Result<Vec<Rule>, String> {
    let file: PolicyFile = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    let allow = file.allow.iter().map(|rule| (false, rule));
    let deny = file.deny.iter().map(|rule| (true, rule));
    let rules = allow.chain(deny).map(|(deny, spanned)| {
        let line = 1 + text.bytes().take(spanned.span().start).filter(|&b| b == b'\n').count();
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
    rules.collect()
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
