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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(finding: &Finding, action: Action) -> String {
        words(finding, action).join("\n")
    }

    #[test]
    fn each_end_has_the_words_that_scripts_look_for() {
        let success = Finding::success(vec!["web2 is on".to_owned()]);
        let off = Finding { exit: Exit::Off, ..Finding::success(Vec::new()) };

        assert_eq!(said(&success, Action::Status), "Status: ON");
        assert_eq!(said(&off, Action::Status), "Status: OFF");
        assert_eq!(said(&success, Action::Off), "");
        assert_eq!(said(&Finding::failure("x".to_owned()), Action::Status), "Operation failed");
        assert_eq!(said(&Finding::denied("x".to_owned()), Action::Off), "Permission denied");
    }

    #[test]
    fn a_list_has_their_columns_and_never_calls_the_unknown_off() {
        let item = |name: &str, number: u128, state| Item {
            name: name.parse().unwrap(),
            uuid: uuid::Uuid::from_u128(number),
            state,
        };
        let items = vec![item("web1", 1, Some(PowerState::On)), item("web2", 2, None)];

        let lines = words(&Finding::list(items, Vec::new()), Action::List);

        assert_eq!(lines[0], format!("web1{} 00000000-0000-0000-0000-000000000001 on", " ".repeat(28)));
        assert!(lines[1].ends_with(" unknown"));
    }
}
