//! `explain SOURCE ACTION TARGET`: the rule that decides.
//!
//! In:  the running agent's answer. Out: `allowed` or `denied`, and why.
//!
//! Invariant: exit code 0 only for allowed, 1 only for denied; whatever could not be answered is 2.

use std::io::{self, Write};

use serde::Serialize;

use super::Failure;
use super::report::Report;
use super::table::{plain, shell_word};
use crate::config::Config;
use crate::control::{Answer, Question, ask};
use crate::policy::{Action, NO_KEY};

/// What `explain` prints.
#[derive(Debug, Serialize)]
pub struct ExplainReport {
    source: String,
    action: &'static str,
    target: String,
    allowed: bool,
    rule: String,
    /// How to allow it; absent where it is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Asks the running agent.
pub fn explain(
    config: &Config,
    source: &str,
    action: Action,
    target: &str,
) -> Result<ExplainReport, Failure> {
    let (source, action, target) = (source.to_owned(), action.word(), target.to_owned());
    let question =
        Question::Explain { source: source.clone(), action: action.to_owned(), target: target.clone() };
    match ask(&config.control_socket(), &question)? {
        Answer::Explain { allowed, rule } => {
            let policy = config.policy_dir.display().to_string();
            let next = (!allowed).then(|| remedy(&rule, &source, &target, &policy));
            Ok(ExplainReport { source, action, target, allowed, rule, next })
        }
        Answer::Error { text } => Err(Failure::Answer(text)),
        Answer::Guests { .. } | Answer::Looks => {
            Err(Failure::Answer("another question was answered: restart the agent".into()))
        }
    }
}

/// What the administrator can do where they want it to be allowed.
fn remedy(rule: &str, source: &str, target: &str, policy: &str) -> String {
    if rule.starts_with("[[deny]]") {
        return format!("change or remove that {rule}: a [[deny]] wins over everything that allows");
    }
    if rule.starts_with(NO_KEY) {
        let source = shell_word(source);
        return format!(
            "give it a key: fence-vmchanneld channel key add {source} NAME; or, if it has one, \
             see what is wrong with it: fence-vmchanneld check-config"
        );
    }
    if rule.contains("default deny") {
        let (source, target) = (shell_word(source), shell_word(target));
        return format!(
            "put both into one cluster (fence-vmchanneld channel add --cluster NAME {source} {target}), \
             or write an [[allow]] into a file in {policy}"
        );
    }
    format!("mend what is wrong in {policy}: fence-vmchanneld check-config tells where")
}

impl Report for ExplainReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { source, action, target, rule, .. } = self;
        let verdict = if self.allowed { "allowed" } else { "denied" };
        writeln!(out, "{verdict}: {} {action} {}", plain(source), plain(target))?;
        writeln!(out, "rule: {}", plain(rule))?;
        self.next.iter().try_for_each(|next| writeln!(out, "to allow it: {}", plain(next)))
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_denied_by_default_is_told_both_ways_to_allow_it() {
        let next = remedy("no rule allows it (default deny)", "web1", "db1", "/etc/policy.d");

        assert!(next.contains("channel add --cluster NAME web1 db1"), "{next}");
        assert!(next.contains("[[allow]] into a file in /etc/policy.d"), "{next}");
    }

    #[test]
    fn a_deny_is_named_because_no_allow_helps_against_it() {
        let next = remedy("[[deny]] at /etc/policy.d/a.toml:4", "web1", "db1", "/etc/policy.d");

        assert!(next.starts_with("change or remove that [[deny]] at /etc/policy.d/a.toml:4"), "{next}");
        assert!(!next.contains("channel add"), "{next}");
    }

    #[test]
    fn who_has_no_key_for_it_is_told_to_make_one() {
        let rule =
            "no key that can be used may do off ([[signed]] at a.toml:1), though [[allow]] at a.toml:4";

        let next = remedy(rule, "web1", "db1", "/etc/policy.d");

        assert!(next.contains("channel key add web1"), "{next}");
    }

    #[test]
    fn a_broken_policy_file_is_to_be_mended() {
        let next = remedy("nothing is allowed until a file is mended", "web1", "db1", "/etc/policy.d");

        assert!(next.contains("check-config"), "{next}");
    }
}
