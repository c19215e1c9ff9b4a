//! `explain SOURCE ACTION TARGET`: the rule that decides.
//!
//! In:  the running agent's answer. Out: `allowed` or `denied`, and why.
//!
//! Invariant: exit code 0 only for allowed, 1 only for denied; whatever could not be answered is 2.

use std::io::{self, Write};

use serde::Serialize;

use super::Failure;
use super::cli::Action;
use super::report::Report;
use super::table::plain;
use crate::config::Config;
use crate::control::{Answer, Question, ask};

/// What `explain` prints.
#[derive(Debug, Serialize)]
pub struct ExplainReport {
    source: String,
    action: &'static str,
    target: String,
    allowed: bool,
    rule: String,
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
        Answer::Explain { allowed, rule } => Ok(ExplainReport { source, action, target, allowed, rule }),
        Answer::Error { text } => Err(Failure::Answer(text)),
        Answer::Guests { .. } => {
            Err(Failure::Answer("another question was answered: restart the agent".into()))
        }
    }
}

impl Report for ExplainReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { source, action, target, rule, .. } = self;
        let verdict = if self.allowed { "allowed" } else { "denied" };
        writeln!(out, "{verdict}: {} {action} {}", plain(source), plain(target))?;
        writeln!(out, "rule: {}", plain(rule))
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.allowed)
    }
}
