//! What was done to each domain, step by step.
//!
//! In:  steps with their outcomes. Out: text or JSON.

use std::io::{self, Write};

use serde::Serialize;
use uuid::Uuid;

use super::plan::{Change, Known, Part, Scope, Step};
use crate::operator::report::Report;
use crate::operator::table::{Table, plain, shell_word};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    Done,
    Already,
    WouldChange,
    Later,
    Failed,
    NotTried,
}

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct StepReport {
    part: Part,
    scope: Scope,
    outcome: Outcome,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    xml: Option<String>,
}

impl StepReport {
    pub(super) fn new(step: &Step, outcome: Outcome, text: String) -> Self {
        let xml = match &step.change {
            Change::Attach { xml, .. } | Change::Detach { xml } => Some(xml.clone()),
            Change::SetCluster { .. }
            | Change::ClearCluster { .. }
            | Change::Already(_)
            | Change::Later(_) => None,
        };
        Self { part: step.part, scope: step.scope, outcome, text, xml }
    }
}

/// One domain.
#[derive(Debug, Serialize)]
pub(super) struct DomainReport {
    name: String,
    uuid: Uuid,
    warnings: Vec<String>,
    pub(super) steps: Vec<StepReport>,
    #[serde(skip)]
    runs: bool,
    /// What the operator has to do for it to take effect; absent when nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl DomainReport {
    pub(super) fn of(known: &Known) -> Self {
        let transient = known.persistent.is_none();
        let warning = || {
            "has no persistent definition: this is gone when it stops (`virsh define` keeps it)".to_owned()
        };
        let warnings = transient.then(warning).into_iter().collect();
        let (name, runs) = (known.name.clone(), known.live.is_some());
        Self { name, uuid: known.uuid, warnings, steps: Vec::new(), runs, next: None }
    }

    pub(super) fn failed(&self) -> bool {
        self.steps.iter().any(|step| step.outcome == Outcome::Failed)
    }

    /// After an addition: what is left to do.
    pub(super) fn tell_next(&mut self) {
        let is_later = self.steps.iter().any(|step| step.outcome == Outcome::Later);
        let word = shell_word(&self.name);
        self.next = match (self.failed(), self.runs) {
            (true, _) => None,
            (false, false) => Some(format!("start it: virsh start {word}")),
            (false, true) if is_later => Some(format!(
                "stop and start it: virsh shutdown {word}, and when it is off, virsh start {word}"
            )),
            (false, true) => None,
        };
    }

    fn unchanged(&self) -> bool {
        self.steps.iter().all(|step| step.outcome == Outcome::Already)
    }
}

/// What `channel add` or `channel remove` did.
#[derive(Debug, Serialize)]
pub struct ChangeReport {
    pub(super) dry_run: bool,
    pub(super) domains: Vec<DomainReport>,
}

impl Report for ChangeReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for domain in &self.domains {
            let unchanged = if domain.unchanged() { ": nothing to change" } else { "" };
            writeln!(out, "{}{unchanged}", plain(&domain.name))?;
            for warning in &domain.warnings {
                writeln!(out, "  warning: {warning}")?;
            }
            let mut table = Table::new(["  PART", "DEFINITION", "RESULT"]);
            for step in &domain.steps {
                table.row([format!("  {}", part(step.part)), scope(step.scope).into(), step.text.clone()]);
            }
            table.write(out)?;
            if let Some(next) = &domain.next {
                writeln!(out, "  next: {}", plain(next))?;
            }
            if self.dry_run {
                for (place, xml) in
                    domain.steps.iter().filter_map(|step| Some((step.scope, step.xml.as_ref()?)))
                {
                    let one_line: String = xml.lines().map(str::trim).collect();
                    writeln!(out, "  {}: {}", scope(place), plain(&one_line))?;
                }
            }
        }
        let hint = "dry run: nothing was changed";
        if self.dry_run { writeln!(out, "{hint}") } else { Ok(()) }
    }

    fn exit_code(&self) -> u8 {
        u8::from(self.domains.iter().any(DomainReport::failed))
    }
}

fn part(part: Part) -> &'static str {
    match part {
        Part::Channel => "channel",
        Part::Serial => "serial",
        Part::Cluster => "cluster",
    }
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Persistent => "persistent",
        Scope::Live => "live",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(runs: bool, outcome: Outcome) -> Option<String> {
        let change = Change::Already(String::new());
        let step = Step { part: Part::Channel, scope: Scope::Persistent, change };
        let steps = vec![StepReport::new(&step, outcome, String::new())];
        let (name, uuid, warnings) = ("web1".to_owned(), Uuid::nil(), Vec::new());
        let mut report = DomainReport { name, uuid, warnings, steps, runs, next: None };
        report.tell_next();
        report.next
    }

    #[test]
    fn a_domain_that_is_off_is_to_be_started() {
        assert_eq!(next(false, Outcome::Done).unwrap(), "start it: virsh start web1");
        assert_eq!(next(false, Outcome::Already).unwrap(), "start it: virsh start web1");
    }

    #[test]
    fn a_running_domain_is_to_be_stopped_and_started_only_for_what_could_not_be_done_live() {
        assert!(next(true, Outcome::Later).unwrap().starts_with("stop and start it: virsh shutdown web1"));
        assert_eq!(next(true, Outcome::Done), None);
    }

    #[test]
    fn after_a_failure_the_failure_itself_says_what_to_do() {
        assert_eq!(next(false, Outcome::Failed), None);
    }
}
