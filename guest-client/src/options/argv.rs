//! Options on the command line.
//!
//! In:  the arguments. Out: [`Written`], or a text to print (usage error, help, version).
//!
//! Invariant: a usage error never ends with clap's exit code 2, which would mean "the target is off".

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, CommandFactory, Parser};

use super::Personality;
use super::transport::WrittenTransport;
use super::written::Written;
use crate::broker;

/// Fences a virtual machine over this guest's own channel to its host.
///
/// Without any argument, options are read from standard input, one key=value per line, as cluster software gives
/// them to fence agents.
#[derive(Debug, Parser)]
#[command(name = "fence_vmchannel", version, args_override_self = false, after_help = ENDING)]
pub(super) struct Arguments {
    /// What to do, see below [default: reboot]
    #[arg(short = 'o', long, value_name = "ACTION")]
    action: Option<String>,

    /// The target: the name or the UUID of a virtual machine on this host
    #[arg(
        short = 'n',
        long,
        value_name = "TARGET",
        short_alias = 'H',
        visible_alias = "port",
        visible_alias = "domain"
    )]
    plug: Option<String>,

    /// The target where no --plug is given: cluster software sends it
    #[arg(long, value_name = "TARGET")]
    nodename: Option<String>,

    /// Take a UUID only as the target, no name [default: both]
    #[arg(short = 'U', long, short_alias = 'u', alias = "use-uuid")]
    uuid: bool,

    /// The channel, for example /dev/ttyS1 [default: the virtio port org.fence_vmchannel.0]
    #[arg(short = 'D', long, value_name = "PATH", alias = "serial-device", alias = "serial_device")]
    device: Option<PathBuf>,

    /// The key that signs the request
    #[arg(short = 'k', long, value_name = "FILE", alias = "key_file")]
    key_file: Option<PathBuf>,

    /// The key's name on the host [default: the name of its file, without what follows the last dot]
    #[arg(long, value_name = "NAME", alias = "key_id", requires = "key_file")]
    key_id: Option<String>,

    /// How long to wait for the verdict, 0.1 to 3600 [default: 55]
    #[arg(short = 't', long, value_name = "SECONDS", alias = "power-timeout", alias = "power_timeout")]
    timeout: Option<String>,

    /// How long the host waits before an off or a reboot, 0 to 600 [default: 0]
    #[arg(short = 'w', long, value_name = "SECONDS")]
    delay: Option<String>,

    /// How to reboot; there is only onoff, which proves that the target was off
    #[arg(short = 'm', long, value_name = "METHOD", hide = true)]
    method: Option<String>,

    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,

    /// Tell each step with its time on standard error
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
}

const ENDING: &str = "\
Actions:
  off, reboot        stop the target (and start it again); success only with proof that it stopped
  on                 start the target
  status             is the target on (exit code 0) or off (exit code 2)
  list, list-status  the targets that this guest may see: name,uuid (and on, off or unknown)
  monitor            is the host able to act, and does it list anybody for this guest to fence
  validate-all       are the options usable, and is there a channel
  hello, whoami      what answers on the host; whom it takes this guest for
  host-status        how the host is: its agent, load, maintenance, and what its administrator adds
  metadata, null     for cluster software: describe this program; do nothing

As the first word:
  broker             share the channel among this guest's programs; see fence_vmchannel broker --help
  --print-pcs, --print-crm NODE:VM...
                     print the command lines for a cluster of these nodes
  --compat AGENT     read the options and print the words of AGENT, fence_virt or fence_xvm; a link to this program of
                     that name does so too

Examples:
  fence_vmchannel -o list
  fence_vmchannel -o off -n web2 -v
  fence_vmchannel --print-pcs node1:web1 node2:web2
  printf 'action=status\\nplug=web2\\n' | fence_vmchannel     (as cluster software calls it)

Exit codes: 0 done (status: the target is on), 2 the target is off (status only), 1 everything else";

pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Written, clap::Error> {
    let arguments = Arguments::try_parse_from(arguments)?;
    Ok(Written {
        action: arguments.action,
        plugs: arguments.plug.into_iter().collect(),
        nodenames: arguments.nodename.into_iter().collect(),
        uuid: arguments.uuid.then(|| "1".to_owned()),
        method: arguments.method,
        transport: WrittenTransport {
            device: arguments.device,
            key_file: arguments.key_file,
            key_id: arguments.key_id,
            ..WrittenTransport::default()
        },
        timeout: arguments.timeout,
        delay: arguments.delay,
        json: arguments.json,
        verbose: (arguments.verbose > 0).then(|| "1".to_owned()),
        ..Written::default()
    })
}

/// The command line, for the handbook and completions: with the first words, which are taken before the options are read.
#[must_use]
pub fn command() -> clap::Command {
    let nodes = |name, says| {
        let arg = Arg::new(name).long(name).value_name("NODE:VM").num_args(1..).conflicts_with("action");
        arg.help(format!("As the first option: print the command lines for a cluster of these nodes, {says}"))
    };
    let agents = Personality::ALL.map(Personality::name);
    let compat = Arg::new("compat").long("compat").value_name("AGENT").value_parser(agents);
    let compat = compat.help("As the first option: read the options and print the words of this agent");
    Arguments::command()
        .args([nodes("print-pcs", "for pcs"), nodes("print-crm", "for crmsh"), compat])
        .subcommand(broker::command().name(broker::WORD))
        .disable_help_subcommand(true)
}

/// The help text.
#[must_use]
pub fn help() -> String {
    Arguments::command().render_help().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_may_be_said_as_often_as_one_likes() {
        for (words, verbose) in
            [("", None), ("-v", Some("1")), ("-vv", Some("1")), ("-v --verbose -v", Some("1"))]
        {
            let arguments = ["fence_vmchannel"].into_iter().chain(words.split_whitespace());
            let written = read(arguments.map(OsString::from)).unwrap();

            assert_eq!(written.verbose.as_deref(), verbose, "{words}");
        }
    }
}
