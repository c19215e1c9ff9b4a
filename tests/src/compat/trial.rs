//! One combination, tried: every action on a running target, each looked at on the host.
//!
//! In:  a way to run the client, the target. Out: the cells of a row.
//!
//! Invariant: the target's process is held before it is stopped, and its end is seen by that alone.

use std::time::Duration;

use super::Action;
use crate::error::Result;
use crate::guest::Guest;
use crate::programs::Ran;

/// A process that was stopped may take so long to be gone when the client ends: none, if it was proven.
const GONE: Duration = Duration::ZERO;
const YES: &str = "yes";
/// The exit codes of `status`.
const ON: i32 = 0;
const OFF: i32 = 2;

/// Runs the client once.
pub(super) type Ask<'a> = dyn Fn(Action) -> Result<Ran> + 'a;

/// The cells of one row.
pub(super) fn cells(ask: &Ask<'_>, target: &Guest<'_>) -> Result<Vec<String>> {
    if !target.is_running() {
        target.start()?;
    }
    let on = ask(Action::Status)?;
    let list = ask(Action::List)?;
    let monitor = ask(Action::Monitor)?;
    let off = stop(ask, target)?;
    let status = status(on.exit_code, ask(Action::Status)?.exit_code);
    let start = start(ask, target)?;
    let reboot = reboot(ask, target)?;
    Ok(vec![status, listed(&list, target.name()), said(&monitor), off, start, reboot])
}

/// The same where there are no processes: what the server says when it is asked again.
pub(super) fn cells_by_word(ask: &Ask<'_>, target: &str) -> Result<Vec<String>> {
    let on = ask(Action::Status)?.exit_code;
    let list = ask(Action::List)?;
    let monitor = ask(Action::Monitor)?;
    let (off, state_after_off) = (ask(Action::Off)?.exit_code, ask(Action::Status)?.exit_code);
    let (start, state_after_start) = (ask(Action::On)?.exit_code, ask(Action::Status)?.exit_code);
    let (reboot, state_after_reboot) = (ask(Action::Reboot)?.exit_code, ask(Action::Status)?.exit_code);
    let did = |code, state, wanted| match (code, state == wanted) {
        (0, true) => YES.to_owned(),
        (0, false) => format!("false: afterwards status exit {state}"),
        (code, _) => format!("exit {code}"),
    };
    Ok(vec![
        status(on, state_after_off),
        listed(&list, target),
        said(&monitor),
        did(off, state_after_off, OFF),
        did(start, state_after_start, ON),
        did(reboot, state_after_reboot, ON),
    ])
}

fn status(on: i32, off: i32) -> String {
    match (on, off) {
        (ON, OFF) => YES.to_owned(),
        (ON, code) => format!("on: yes, off: exit {code}"),
        (code, _) => format!("exit {code}"),
    }
}

fn listed(list: &Ran, target: &str) -> String {
    if list.output.contains(target) {
        said(list)
    } else {
        format!("exit {}, without the target", list.exit_code)
    }
}

fn said(ran: &Ran) -> String {
    if ran.exit_code == 0 { YES.to_owned() } else { format!("exit {}", ran.exit_code) }
}

fn stop(ask: &Ask<'_>, target: &Guest<'_>) -> Result<String> {
    let process = target.process()?;
    let ran = ask(Action::Off)?;
    let gone = process.wait_until_gone(GONE).is_ok();
    if !gone {
        target.destroy()?; // for the next one
    }
    target.wait_until_shut_off()?;
    Ok(match (ran.exit_code, gone) {
        (0, false) => "false: it lives".to_owned(),
        (0, true) => YES.to_owned(),
        (code, _) => format!("exit {code}"),
    })
}

fn start(ask: &Ask<'_>, target: &Guest<'_>) -> Result<String> {
    let ran = ask(Action::On)?;
    let runs = target.is_running();
    if !runs {
        target.start()?;
    }
    Ok(match (ran.exit_code, runs) {
        (0, false) => "false: it is off".to_owned(),
        (0, true) => YES.to_owned(),
        (code, _) => format!("exit {code}"),
    })
}

fn reboot(ask: &Ask<'_>, target: &Guest<'_>) -> Result<String> {
    let process = target.process()?;
    let ran = ask(Action::Reboot)?;
    let (gone, runs) = (process.is_gone(), target.is_running());
    Ok(match (ran.exit_code, gone, runs) {
        (0, true, true) => YES.to_owned(),
        (0, false, _) => "false: it was not stopped".to_owned(),
        (0, true, false) => "false: it is off".to_owned(),
        (code, _, _) => format!("exit {code}"),
    })
}
