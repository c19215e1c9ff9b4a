//! Options: what was written, and what is true.
//!
//! In:  the command line, or standard input when it is empty. Out: [`Options`], every one of them usable.
//!
//! Invariant: no port is opened before all options are known to be right; two different targets are never
//! settled by guessing.

mod argv;
mod stdin;

use std::ffi::OsString;
use std::io::{IsTerminal, Stdin};
use std::path::PathBuf;
use std::time::Duration;

use fence_vmchannel_protocol::limits::{DELAY_MAX, TIMEOUT_DEFAULT, TIMEOUT_MAX, TIMEOUT_MIN};
use fence_vmchannel_protocol::{Ask, Power, Target, WordError};

use crate::action::{Action, ActionError};

pub use argv::help;

/// Options as somebody wrote them.
#[derive(Debug, Default)]
struct Written {
    action: Option<String>,
    legacy_action: Option<String>,
    /// The target by key: plug, port, domain.
    plugs: Vec<(String, String)>,
    nodename: Option<String>,
    uuid: Option<String>,
    device: Option<PathBuf>,
    timeout: Option<String>,
    power_timeout: Option<String>,
    delay: Option<String>,
    json: bool,
    verbose: Option<String>,
    warnings: Vec<String>,
}

/// Options that can be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub action: Action,
    /// What to ask the host, where something has to be asked.
    pub ask: Option<Ask>,
    /// The channel's device, where it was named.
    pub device: Option<PathBuf>,
    /// How long to wait for the verdict, without the delay.
    pub timeout: Duration,
    /// How long the host waits before it accepts an off or a reboot.
    pub delay: Duration,
    /// Print the result as JSON.
    pub json: bool,
    /// Tell each step.
    pub verbose: bool,
}

/// Why options cannot be acted on.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The command line is wrong, or asks for help or version.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// Nothing was given, and a person sits at the terminal.
    #[error("no option given\n\n{}", help())]
    Nothing,
    /// Standard input cannot be read.
    #[error("cannot read options from standard input")]
    Input(#[source] std::io::Error),
    /// Standard input is not UTF-8.
    #[error("the options on standard input are not UTF-8; check the cluster's configuration of this device")]
    InputText,
    /// Standard input is too long.
    #[error("the options on standard input are longer than 64 KiB; is it the right file?")]
    InputLong,
    /// The action is unknown, or lacks its target.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// Two options name different targets.
    #[error("{one:?} and {other:?} name different targets; give one of plug, port and domain")]
    TwoTargets {
        /// One of them.
        one: String,
        /// Another one.
        other: String,
    },
    /// The target cannot be a domain's name.
    #[error("the target cannot be the name of a virtual machine; check --plug")]
    Target(#[source] WordError),
    /// The target should be a UUID.
    #[error(
        "--uuid is given, but the target {target:?} is no UUID like 01234567-89ab-cdef-0123-456789abcdef"
    )]
    NotUuid {
        /// The target.
        target: String,
    },
    /// A number of seconds is none, or out of range.
    #[error("{option} is {text:?}, but must be a number of seconds from {} to {}", .least.as_secs_f64(), .most.as_secs())]
    Seconds {
        /// The option.
        option: &'static str,
        /// What was given.
        text: String,
        /// The smallest value.
        least: Duration,
        /// The largest value.
        most: Duration,
    },
    /// A switch has a value that is neither yes nor no.
    #[error("{option} is {text:?}, but is a switch: 1 or 0 (name the target by plug=)")]
    Switch {
        /// The option.
        option: &'static str,
        /// What was given.
        text: String,
    },
}

impl Options {
    /// The options on the command line, or on standard input when there are none; and what was odd about them.
    pub fn read(arguments: Vec<OsString>, input: &Stdin) -> (Result<Self, OptionsError>, Vec<String>) {
        let written = if arguments.len() > 1 {
            argv::read(arguments).map_err(OptionsError::from)
        } else if input.is_terminal() {
            Err(OptionsError::Nothing)
        } else {
            stdin::read(input.lock())
        };
        match written {
            Ok(mut written) => {
                let warnings = std::mem::take(&mut written.warnings);
                (written.check(), warnings)
            }
            Err(error) => (Err(error), Vec::new()),
        }
    }
}

impl Written {
    fn check(self) -> Result<Options, OptionsError> {
        let action = match self.action.as_ref().or(self.legacy_action.as_ref()) {
            Some(word) => word.parse()?,
            None => Action::DEFAULT,
        };
        let target = self.target()?;
        let timeout = self.timeout.as_ref().or(self.power_timeout.as_ref());
        let timeout = seconds("timeout", timeout, TIMEOUT_DEFAULT, (TIMEOUT_MIN, TIMEOUT_MAX))?;
        let delay = seconds("delay", self.delay.as_ref(), Duration::ZERO, (Duration::ZERO, DELAY_MAX))?;
        // Some agents take levels here; that is no reason to fail a fencing.
        let verbose = switch("verbose", self.verbose.as_ref()).unwrap_or(true);
        let ask = action.ask(target)?;
        // Cluster software sends a device's delay with every action; only these two wait.
        let waits = matches!(ask, Some(Ask::Power(Power::Off | Power::Reboot, _)));
        let delay = if waits { delay } else { Duration::ZERO };
        Ok(Options { action, ask, device: self.device, timeout, delay, json: self.json, verbose })
    }

    fn target(&self) -> Result<Option<Target>, OptionsError> {
        let uuid_only = switch("uuid", self.uuid.as_ref())?;
        let mut plugs = self.plugs.iter().map(|(_, plug)| plug);
        let first = plugs.next();
        if let (Some(one), Some(other)) = (first, plugs.find(|plug| Some(*plug) != first)) {
            return Err(OptionsError::TwoTargets { one: one.clone(), other: other.clone() });
        }
        let Some(text) = first.or(self.nodename.as_ref()) else { return Ok(None) };
        let target: Target = text.parse().map_err(OptionsError::Target)?;
        match target {
            Target::Name(_) if uuid_only => Err(OptionsError::NotUuid { target: text.clone() }),
            target @ (Target::Name(_) | Target::Uuid(_)) => Ok(Some(target)),
        }
    }
}

fn seconds(
    option: &'static str,
    text: Option<&String>,
    default: Duration,
    (least, most): (Duration, Duration),
) -> Result<Duration, OptionsError> {
    let Some(text) = text else { return Ok(default) };
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let duration = number.and_then(|n| Duration::try_from_secs_f64(n).ok());
    duration.filter(|d| (least..=most).contains(d)).ok_or_else(|| OptionsError::Seconds {
        option,
        text: text.clone(),
        least,
        most,
    })
}

fn switch(option: &'static str, text: Option<&String>) -> Result<bool, OptionsError> {
    let Some(text) = text else { return Ok(false) };
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Ok(true),
        "" | "0" | "no" | "false" | "off" => Ok(false),
        _ => Err(OptionsError::Switch { option, text: text.clone() }),
    }
}
