//! The command line of `fence-vmchanneld`.
//!
//! In:  the words that the operator typed. Out: [`CommandLine`].
//!
//! Invariant: a wrong word is told with the program's name in front and exit code 2, and nothing was done.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::channel::key::KeyCommand;
use super::convert::ConvertArgs;
use crate::policy::Action;

/// Fencing for virtual machines through their own channels: the agent on the host, and commands to set it up.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "fence-vmchanneld", version, max_term_width = 100, after_help = ENDING)]
pub struct CommandLine {
    /// The agent's settings [default: /etc/fence-vmchannel/agent.toml, which may be missing].
    #[arg(long, global = true, value_name = "FILE", display_order = 900)]
    pub config: Option<PathBuf>,
    /// Print one JSON object for programs, also for an error: {"error": "..."}.
    #[arg(long, global = true, display_order = 901)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const ENDING: &str = "\
Environment:
  FENCE_VMCHANNEL_LOG  What the agent logs: error, warn, info, debug or trace [default: info]

Examples, in the order in which a new host needs them:
  fence-vmchanneld hook install --reload                VMs start also while the agent is away
  systemctl enable --now fence-vmchanneld               the agent runs, now and after a boot
  fence-vmchanneld channel add --cluster web web1 web2  web1 and web2 may fence each other
  fence-vmchanneld guests                               whom the agent serves now
  fence-vmchanneld explain web1 off web2                would it be allowed, and why

Exit codes: 0 done, 1 failed, 2 wrong usage
            explain: 0 allowed, 1 denied, 2 could not be answered
            check-config, hook status: 0 all is well, 1 something is not";

const ADD_ENDING: &str = "\
Examples:
  fence-vmchanneld channel add --cluster web web1 web2            web1 and web2 may fence each other
  fence-vmchanneld channel add --cluster web --dry-run web3       what would be changed
  fence-vmchanneld channel add --cluster web --serial old1        for a guest without virtio

Exit codes: 0 done (also where a VM has to be started anew), 1 failed or refused, 2 wrong usage";

const HOOK_ENDING: &str = "\
Examples:
  fence-vmchanneld hook install --reload                              after an installation or an upgrade
  fence-vmchanneld hook install --program ./target/release/fence-vmchannel-hook

Exit codes: 0 done, 1 failed, 2 wrong usage";

const CONVERT_ENDING: &str = "\
Examples:
  fence-vmchanneld convert-config /etc/fence_virt.conf                             look at it; nothing is changed
  fence-vmchanneld convert-config --addresses-as members --output /etc/fence-vmchannel
  fence-vmchanneld convert-config --xvmd='-I virbr1' --cluster-conf cluster.conf --open-as groups

Exit codes: 0 converted, 1 failed or a choice is missing, 2 wrong usage";

const EXPLAIN_ENDING: &str = "\
Examples:
  fence-vmchanneld explain web1 off web2
  fence-vmchanneld explain web1 status 6f1c1f5e-2f0a-4a83-9c3c-5e3c8d1b7a01

Exit codes: 0 allowed, 1 denied, 2 could not be answered";

/// One command of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground (what the systemd unit does).
    Run {
        /// Try things out without libvirt: the domains are those of FILE, and every answer is marked as simulated.
        #[arg(long, value_name = "FILE")]
        simulate: Option<PathBuf>,
    },
    /// Check the settings and the policy's files; print what holds.
    CheckConfig,
    /// Show the domains and whether their channels are served (asks the running agent).
    Guests,
    /// Give domains their channel and cluster, take them away, or show them.
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Tell whether SOURCE may do ACTION to TARGET, and which rule decides (asks the running agent).
    #[command(after_help = EXPLAIN_ENDING)]
    Explain {
        /// The domain that would ask, by name or UUID.
        source: String,
        /// What it would ask for: status, list, off, on, reboot or host-status (SOURCE and TARGET are the same then).
        action: Action,
        /// The domain that it is about, by name or UUID.
        target: String,
    },
    /// Convert the configuration of fence_virtd or fence_xvmd, line by line, and tell what was unsafe about it.
    #[command(after_help = CONVERT_ENDING)]
    ConvertConfig(ConvertArgs),
    /// Announce maintenance of this host to its guests, or its end; ends by itself with the host's run.
    Maintenance {
        /// on, off, or show what it is now.
        what: Announcement,
    },
    /// The libvirt hook that tells the agent of VMs before they start.
    #[command(subcommand)]
    Hook(HookCommand),
}

/// What to do with the maintenance flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Announcement {
    /// Maintenance is to come, or under way.
    On,
    /// It is over.
    Off,
    /// Tell, and change nothing.
    Show,
}

/// What to do with channels.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ChannelCommand {
    /// Add the channel and the cluster's label to domains; running it again changes nothing.
    #[command(after_help = ADD_ENDING)]
    Add(AddArgs),
    /// Take the channel and the cluster's label away from domains.
    Remove(RemoveArgs),
    /// Show channels and clusters as libvirt knows them; works without the agent.
    Show {
        /// Only these, by name or UUID [default: all].
        #[arg(value_name = "DOMAIN")]
        domains: Vec<String>,
    },
    /// Give guests keys, so that only signed requests of them may act; take keys away, or list them.
    #[command(subcommand)]
    Key(KeyCommand),
}

/// How to add.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct AddArgs {
    /// The cluster's label: domains with the same one may fence each other.
    #[arg(long, value_name = "NAME")]
    pub cluster: String,
    /// A serial port (/dev/ttyS1 in the guest) instead of a virtio port; takes effect at the next start.
    #[arg(long)]
    pub serial: bool,
    /// Let QEMU make the socket instead of the agent: for VMs that must start without agent and hook.
    #[arg(long)]
    pub bind: bool,
    /// Move a domain that has the label of another cluster.
    #[arg(long = "move")]
    pub move_cluster: bool,
    /// Print what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Domains, by name or UUID.
    #[arg(required = true, value_name = "DOMAIN")]
    pub domains: Vec<String>,
}

/// How to remove.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RemoveArgs {
    /// Leave the cluster's label: others may still fence this domain.
    #[arg(long)]
    pub keep_cluster: bool,
    /// Print what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Domains, by name or UUID.
    #[arg(required = true, value_name = "DOMAIN")]
    pub domains: Vec<String>,
}

/// What to do with the hook.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum HookCommand {
    /// Put the hook into libvirt's hooks/qemu.d; running it again updates it.
    #[command(after_help = HOOK_ENDING)]
    Install {
        /// The hook program [default: the one next to this program, or where packages put it].
        #[arg(long, value_name = "PATH")]
        program: Option<PathBuf>,
        /// Make libvirtd notice it now (SIGHUP): it overlooks the first hook that appears after its start.
        #[arg(long)]
        reload: bool,
        /// Tell what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take the hook away.
    Remove {
        /// Tell what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Tell whether the hook is there, up to date, and noticed by libvirtd: exit code 0 only if it is all of this.
    Status,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn global_options_are_taken_after_the_command_too() {
        let line = CommandLine::try_parse_from(["x", "guests", "--json", "--config", "/a"]).unwrap();

        assert!(line.json);
        assert_eq!(line.config, Some("/a".into()));
    }

    #[test]
    fn a_cluster_and_a_domain_must_be_named_to_add_a_channel() {
        assert!(CommandLine::try_parse_from(["x", "channel", "add", "web1"]).is_err());
        assert!(CommandLine::try_parse_from(["x", "channel", "add", "--cluster", "web"]).is_err());
        assert!(CommandLine::try_parse_from(["x", "channel", "add", "--cluster", "web", "web1"]).is_ok());
    }
}
