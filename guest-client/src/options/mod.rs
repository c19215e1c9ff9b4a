//! Options: what was written, and what is true.
//!
//! In:  the command line, or standard input when it is empty. Out: [`Options`], every one of them usable.
//!
//! Invariant: no port is opened before all options are known to be right; two different targets are never
//! settled by guessing.

mod argv;
mod compat;
mod personality;
mod stdin;
mod transport;
mod written;

use std::ffi::OsString;
use std::io::{IsTerminal, Stdin};
use std::time::Duration;

use fence_vmchannel_protocol::{Ask, WordError};

use crate::action::{Action, ActionError};
use written::Written;

pub use argv::{command, help};
pub use personality::Personality;
pub use transport::{Credentials, Parity, SerialParams, Strength, Transport};

/// Options that can be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whose words are printed.
    pub personality: Personality,
    /// What to do.
    pub action: Action,
    /// What to ask the host, where something has to be asked.
    pub ask: Option<Ask>,
    /// The way to the host.
    pub transport: Transport,
    /// Whether an option asked for that way; else this guest's own channel is better where there is one.
    pub transport_named: bool,
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
    #[error(
        "{one:?} and {other:?} name different targets; give one target, once (in a device of Pacemaker: by {key}= or by \
         pcmk_host_map=)"
    )]
    TwoTargets {
        /// One of them.
        one: String,
        /// Another one.
        other: String,
        /// The key that Pacemaker leaves as a device has it.
        key: &'static str,
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
    /// An option has a value that it cannot have.
    #[error("{option} is {text:?}, but must be {must}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        text: String,
        /// What it may be.
        must: &'static str,
    },
    /// Another agent's name.
    #[error(
        "--compat {name:?}: it can be fence_virt, fence_xvm or fence_vmchannel, and must be the first option"
    )]
    Compat {
        /// What was given.
        name: OsString,
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
    pub fn read(mut arguments: Vec<OsString>, input: &Stdin) -> (Result<Self, OptionsError>, Vec<String>) {
        let written = Personality::take(&mut arguments).and_then(|personality| {
            let written = if arguments.len() > 1 {
                match personality {
                    Personality::Vmchannel => argv::read(arguments)?,
                    Personality::Virt | Personality::Xvm => compat::read(personality, arguments)?,
                }
            } else if input.is_terminal() {
                return Err(OptionsError::Nothing);
            } else {
                stdin::read(input.lock())?
            };
            Ok(Written { personality, ..written })
        });
        match written {
            Ok(mut written) => {
                let odd = written.odd();
                (written.check(), odd)
            }
            Err(error) => (Err(error), Vec::new()),
        }
    }
}
