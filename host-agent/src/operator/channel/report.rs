//! What was done to each domain, step by step.
//!
//! In:  steps with their outcomes. Out: text or JSON.

use std::io::{self, Write};

use serde::Serialize;
use uuid::Uuid;

use super::plan::{Change, Known, Part, Scope, Step};
use crate::operator::report::Report;
use crate::operator::table::{Table, plain};

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
}

impl DomainReport {
    pub(super) fn of(known: &Known) -> Self {
        let transient = known.persistent.is_none();
        let warning = || {
            "has no persistent definition: this is gone when it stops (`virsh define` keeps it)".to_owned()
        };
        let warnings = transient.then(warning).into_iter().collect();
        Self { name: known.name.clone(), uuid: known.uuid, warnings, steps: Vec::new() }
    }

    pub(super) fn failed(&self) -> bool {
        self.steps.iter().any(|step| step.outcome == Outcome::Failed)
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
