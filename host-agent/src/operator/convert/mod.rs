//! `convert-config`: from fence_virtd or fence_xvmd to this agent.
//!
//! In:  `fence_virt.conf`, the options of fence_xvmd, a `cluster.conf`; the choices. Out: `agent.toml` and a policy, what
//! became of each line, and the commands that are still to be run.
//!
//! Invariant: the new rules allow nothing that the old configuration did not, except by a choice in words; nothing is
//! changed but the files that are named.

mod after;
mod before;
mod choices;
mod cluster_conf;
mod commands;
mod fence_virt;
mod files;
mod finding;
mod grammar;
mod groups;
mod input;
mod listeners;
mod machines;
mod network;
mod output;
mod report;
mod xvmd;

use std::path::PathBuf;

use clap::Args;

use super::channel;
pub use choices::{AddressOf, AddressesAs, Choices, OpenAs};
pub use cluster_conf::NotXml;
pub use grammar::Mistake;
pub use machines::Machine;
pub use report::ConvertReport;

/// What to convert, and how.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ConvertArgs {
    /// The configuration of fence_virtd [default: /etc/fence_virt.conf].
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Convert fence_xvmd instead: its options as one word, as in --xvmd='-I virbr1 -k /etc/cluster/fence_xvm.key'.
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    pub xvmd: Option<String>,
    /// The guests' cluster.conf, or its clusternode and fencedevice elements.
    #[arg(long, value_name = "FILE")]
    pub cluster_conf: Option<PathBuf>,
    /// Write agent.toml and policy.d/50-fence_virt.toml below DIR [default: show them].
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Overwrite files that are there.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// What shall hold where every guest could fence every other.
    #[arg(long, value_name = "CHOICE")]
    pub open_as: Option<OpenAs>,
    /// What shall hold for groups whose askers were known by their addresses.
    #[arg(long, value_name = "CHOICE")]
    pub addresses_as: Option<AddressesAs>,
    /// The machine that has this address or CID (may be given several times).
    #[arg(long = "address", value_name = "ADDRESS=DOMAIN")]
    pub addresses: Vec<AddressOf>,
    /// Do not ask libvirt which machines there are.
    #[arg(long)]
    pub without_libvirt: bool,
}

/// Why nothing was converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// Two daemons at once.
    #[error("{file} is fence_virtd's and --xvmd is fence_xvmd's: convert one after the other, each to its own --output", file = .0.display())]
    TwoDaemons(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {file}: {source}", file = file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no `fence_virt.conf`.
    #[error("{file}: {source}", file = file.display())]
    Grammar {
        /// The file.
        file: PathBuf,
        /// Where and what.
        source: Mistake,
    },
    /// It is no `cluster.conf`.
    #[error("{file}: {source}", file = file.display())]
    ClusterConf {
        /// The file.
        file: PathBuf,
        /// Where and what.
        source: NotXml,
    },
    /// A file is there already.
    #[error("{file} is there already: name another --output, or say --force to overwrite it (nothing was written)", file = .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {file}: {source}", file = file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Converts, with the machines that this host's libvirt tells.
pub fn convert(args: &ConvertArgs) -> Result<ConvertReport, ConvertError> {
    let input = input::read(args)?;
    let uri = input.before.uri.clone().unwrap_or_else(|| "qemu:///system".to_owned());
    let known = match args.without_libvirt {
        true => Err("--without-libvirt".to_owned()),
        false => channel::machines_of(&uri).map_err(|error| error.to_string()),
    };
    finish(args, input, &known)
}

/// Converts, with these machines, or a reason why they are not known.
pub fn convert_with(
    args: &ConvertArgs,
    known: &Result<Vec<Machine>, String>,
) -> Result<ConvertReport, ConvertError> {
    finish(args, input::read(args)?, known)
}

fn finish(
    args: &ConvertArgs,
    input: input::Input,
    known: &Result<Vec<Machine>, String>,
) -> Result<ConvertReport, ConvertError> {
    let input::Input { before, mut findings, names, whole } = input;
    let choices =
        Choices { open_as: args.open_as, addresses_as: args.addresses_as, addresses: args.addresses.clone() };
    let machines = known.as_ref().ok().map(Vec::as_slice);
    let after = after::decide(&before, &choices, machines, &whole);
    findings.extend(after.findings.iter().cloned());
    findings.sort_by(|a, b| (&a.place, a.kind).cmp(&(&b.place, b.kind)));
    findings.dedup();
    let mut report = ConvertReport {
        findings,
        files: Vec::new(),
        written_to: None,
        commands: Vec::new(),
        guest_commands: Vec::new(),
        without_libvirt: known.as_ref().err().cloned(),
    };
    if report.findings.iter().any(|finding| finding.kind == finding::Kind::Choose) {
        return Ok(report);
    }
    report.files = files::write(&names, &before, &after);
    report.commands = commands::on_the_host(&after, machines);
    report.guest_commands = commands::in_the_guests(&before);
    if let Some(directory) = &args.output {
        output::write(directory, &report.files, args.force)?;
        report.written_to = Some(directory.clone());
    }
    Ok(report)
}
