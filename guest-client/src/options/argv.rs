//! Options on the command line.
//!
//! In:  the arguments. Out: [`Written`], or a text to print (usage error, help, version).
//!
//! Invariant: a usage error never ends with clap's exit code 2, which would mean "the target is off".

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use super::Written;

/// Fences a virtual machine over this guest's own channel to its host.
///
/// Without any argument, options are read from standard input, one key=value per line, as cluster software gives
/// them to fence agents.
///
/// Exit code: 0 success, or the target is on; 2 the target is off (status only); 1 everything else.
#[derive(Debug, Parser)]
#[command(name = "fence_vmchannel", version, args_override_self = false)]
pub(super) struct Arguments {
    /// on, off, reboot, status, list, list-status, monitor, metadata, validate-all, null, hello or whoami
    /// [default: reboot]
    #[arg(short = 'o', long, value_name = "ACTION")]
    action: Option<String>,

    /// The target: the name or the UUID of a virtual machine
    #[arg(short = 'n', long, short_alias = 'H', visible_alias = "port", visible_alias = "domain")]
    plug: Option<String>,

    /// The target, where no --plug is given
    #[arg(long, value_name = "NAME")]
    nodename: Option<String>,

    /// The target must be given as a UUID
    #[arg(short = 'U', long, short_alias = 'u', alias = "use-uuid")]
    uuid: bool,

    /// The channel's device, for example /dev/ttyS1 [default: the virtio port org.fence_vmchannel.0]
    #[arg(short = 'D', long, value_name = "PATH")]
    device: Option<PathBuf>,

    /// How long to wait for the verdict [default: 55]
    #[arg(short = 't', long, value_name = "SECONDS")]
    timeout: Option<String>,

    /// How long the host waits before it acts (off and reboot) [default: 0]
    #[arg(short = 'w', long, value_name = "SECONDS")]
    delay: Option<String>,

    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,

    /// Tell each step on standard error
    #[arg(short = 'v', long)]
    verbose: bool,
}

pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Written, clap::Error> {
    let arguments = Arguments::try_parse_from(arguments)?;
    Ok(Written {
        action: arguments.action,
        plugs: arguments.plug.map(|plug| ("plug".to_owned(), plug)).into_iter().collect(),
        nodename: arguments.nodename,
        uuid: arguments.uuid.then(|| "1".to_owned()),
        device: arguments.device,
        timeout: arguments.timeout,
        delay: arguments.delay,
        json: arguments.json,
        verbose: arguments.verbose.then(|| "1".to_owned()),
        ..Written::default()
    })
}

/// The help text.
#[must_use]
pub fn help() -> String {
    Arguments::command().render_help().to_string()
}
