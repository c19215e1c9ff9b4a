//! The command line of `fence-vmchanneld`.
//!
//! In:  the words that the operator typed. Out: [`CommandLine`].
//!
//! Invariant: a wrong word is told with the program's name in front and exit code 2, and nothing was done.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Fencing for virtual machines through their own channels: the host's agent and its operator's commands.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "fence-vmchanneld", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct CommandLine {
    /// Settings [default: /etc/fence-vmchannel/agent.toml, which may be missing].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one JSON object for programs, also for an error: {"error": "..."}.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage. For `explain`: 0 allowed, 1 denied, 2 could not be answered.
What the agent logs is set by FENCE_VMCHANNEL_LOG (default info), for example FENCE_VMCHANNEL_LOG=debug.";

/// One command of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground (what the systemd unit does).
    Run {
        /// Without any VM: the domains of this file, for trying things out. Every answer is marked as simulated.
        #[arg(long, value_name = "FILE")]
        simulate: Option<PathBuf>,
    },
    /// Check the settings and the policy's files; print what holds.
    CheckConfig,
    /// Show the domains and how their channels are (asks the running agent).
    Guests,
    /// Give domains their channel and cluster, take them away, or show them.
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Tell whether SOURCE may do ACTION to TARGET, and which rule decides (asks the running agent).
    #[command(after_help = "Exit codes: 0 allowed, 1 denied, 2 could not be answered.")]
    Explain {
        /// The domain that would ask, by name or UUID.
        source: String,
        /// What it would ask for.
        action: Action,
        /// The domain that it is about, by name or UUID.
        target: String,
    },
    /// The libvirt hook that tells the agent of VMs before they start.
    #[command(subcommand)]
    Hook(HookCommand),
}

/// What a guest can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Whether it is on or off.
    Status,
    /// Whether it is seen in a list.
    List,
    /// Power off.
    Off,
    /// Power on.
    On,
    /// Off and on.
    Reboot,
}

impl Action {
    /// The word of the command line and of the protocol.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::List => "list",
            Self::Off => "off",
            Self::On => "on",
            Self::Reboot => "reboot",
        }
    }
}

/// What to do with channels.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ChannelCommand {
    /// Add the channel and the cluster's label to domains; running it again changes nothing.
    Add(AddArgs),
    /// Take the channel and the cluster's label away from domains.
    Remove(RemoveArgs),
    /// Show channels and clusters as libvirt knows them; works without the agent.
    Show {
        /// Only these, by name or UUID [default: all].
        #[arg(value_name = "DOMAIN")]
        domains: Vec<String>,
    },
}

/// How to add.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct AddArgs {
    /// Domains of the same cluster may fence each other.
    #[arg(long, value_name = "NAME")]
    pub cluster: String,
    /// A serial port (ttyS1 in the guest) instead of a virtio port; takes effect at the next start.
    #[arg(long)]
    pub serial: bool,
    /// QEMU listens instead of the agent.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum HookCommand {
    /// Put the hook into libvirt's hooks/qemu.d; running it again updates it.
    Install {
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
