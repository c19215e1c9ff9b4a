//! The words of fence_virt and fence_xvm.
//!
//! In:  a finding. Out: the lines that those agents print for it, and their exit code.
//!
//! Invariant: only a finding that is a success, or that says off, becomes a line that says so.

use fence_vmchannel_protocol::{Item, PowerState};

use super::{Exit, Finding};
use crate::action::Action;

pub(super) fn words(finding: &Finding, action: Action) -> Vec<String> {
    match (finding.exit, action) {
        (Exit::Success, Action::Status) => vec!["Status: ON".to_owned()],
        (Exit::Off, _) => vec!["Status: OFF".to_owned()],
        (Exit::Denied, _) => vec!["Permission denied".to_owned()],
        (Exit::Failure, _) => vec!["Operation failed".to_owned()],
        (Exit::Success, Action::List | Action::ListStatus) => finding.items.iter().map(line).collect(),
        (Exit::Success, Action::Metadata) => finding.told.clone(),
        (Exit::Success, _) => Vec::new(),
    }
}

/// A state that is not known is said to be that, where those agents would say off.
fn line(item: &Item) -> String {
    let state = item.state.map_or("unknown", PowerState::word);
    format!("{:<32} {} {state}", item.name.to_string(), item.uuid)
}
