//! `channel key list`: which keys are listed, for whom, and whether they can be used.
//!
//! In:  the policy's files. Out: a table.
//!
//! Invariant: no secret is printed; a key that cannot be used is exit code 1.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::{Result, guest};
use crate::config::Config;
use crate::domain::{Domain, Standing};
use crate::operator::channel::plan::Known;
use crate::operator::report::Report;
use crate::operator::table::{Table, plain};
use crate::policy::{KeyRule, Policy};

/// What `channel key list` prints.
#[derive(Debug, Serialize)]
pub struct ListReport {
    keys: Vec<ListedKey>,
    /// Who has to sign by rules without a key.
    closed: Vec<Closed>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Closed {
    from: Vec<String>,
    rule: String,
}

#[derive(Debug, Serialize)]
struct ListedKey {
    key: String,
    from: Vec<String>,
    actions: Vec<&'static str>,
    file: PathBuf,
    usable: bool,
    rule: String,
}

/// The keys that these domains may use, or all keys.
///
/// # Errors
/// When libvirt does not know a domain.
pub fn list(config: &Config, domains: &[String]) -> Result<ListReport> {
    let known = domains.iter().map(|word| guest(config, word)).collect::<Result<Vec<_>>>()?;
    let sources: Vec<_> = known.into_iter().filter_map(source).collect();
    let loaded = Policy::load(&config.policy_dir);
    let is_asked = |rule: &KeyRule| domains.is_empty() || sources.iter().any(|source| rule.is_about(source));
    let asked = || loaded.policy.key_rules().iter().filter(|rule| is_asked(rule));
    let closed = asked().filter(|rule| rule.keys().is_empty());
    let closed = closed.map(|rule| Closed { from: rule.from(), rule: rule.place().to_owned() });
    let keys = asked().flat_map(|rule| rule.keys().iter().map(move |listed| (rule, listed)));
    let keys = keys.map(|(rule, listed)| ListedKey {
        key: listed.id().to_string(),
        from: rule.from(),
        actions: listed.actions().iter().map(|action| action.word()).collect(),
        file: listed.file().to_owned(),
        usable: listed.is_usable(),
        rule: rule.place().to_owned(),
    });
    Ok(ListReport {
        keys: keys.collect(),
        closed: closed.collect(),
        problems: loaded.problems.iter().map(ToString::to_string).collect(),
    })
}

/// The domain, as far as rules look at it.
fn source(known: Known) -> Option<Domain> {
    let cluster = known.live.or(known.persistent).and_then(|definition| definition.cluster);
    Some(Domain {
        uuid: known.uuid,
        name: known.name.parse().ok()?,
        standing: Standing::Active,
        persistent: true,
        cluster,
        channels: Vec::new(),
        owner: None,
        instance: None,
    })
}

impl Report for ListReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(["KEY", "GUESTS", "ACTIONS", "USABLE", "FILE", "LISTED AT"]);
        for key in &self.keys {
            table.row([
                key.key.clone(),
                key.from.join(" "),
                key.actions.join(","),
                if key.usable { "yes" } else { "no" }.into(),
                key.file.display().to_string(),
                key.rule.clone(),
            ]);
        }
        match self.keys.len() {
            0 if self.closed.is_empty() && self.problems.is_empty() => {
                writeln!(out, "no keys: what these guests ask need not be signed")?;
            }
            0 => writeln!(out, "no keys")?,
            _some => table.write(out)?,
        }
        for Closed { from, rule } in &self.closed {
            let from = plain(&from.join(" "));
            writeln!(
                out,
                "{from} must sign, and no key is listed at {rule}: whoever has none elsewhere may do nothing; \
                 fence-vmchanneld channel key add DOMAIN NAME"
            )?;
        }
        self.problems.iter().try_for_each(|problem| writeln!(out, "problem: {}", plain(problem)))
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.problems.is_empty())
    }
}
