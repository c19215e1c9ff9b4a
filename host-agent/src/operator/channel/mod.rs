//! `channel add|remove|show`: gives domains their channel and their cluster, through libvirt.
//!
//! In:  names or UUIDs, and what is wanted. Out: what was changed, step by step.
//!
//! Invariant: when one of the domains cannot get what is wanted, none is changed; works without the agent.

mod apply;
mod definition;
mod machine;
mod nearest;
mod plan;
mod ports;
mod report;
mod show;
mod socket;

use std::path::Path;

use super::cli::{AddArgs, RemoveArgs};
use crate::config::Config;
use crate::domain::{Mode, Port};
use machine::{Host, Machine};
use plan::{Known, Step, Wish};

pub use machine::LibvirtError;
pub use plan::Refusal;
pub use report::ChangeReport;
pub use show::{ShowReport, show};

/// Why no domain was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// libvirt.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// It would not work.
    #[error("{0} (nothing was changed)")]
    Refused(#[from] Refusal),
}

/// `channel add`.
pub fn add(config: &Config, args: &AddArgs) -> Result<ChangeReport, ChannelError> {
    let wish = Wish {
        cluster: args.cluster.clone(),
        port: if args.serial { Port::Serial } else { Port::Virtio },
        mode: if args.bind { Mode::Bind } else { Mode::Connect },
        move_cluster: args.move_cluster,
        guests_dir: config.guests_dir(),
    };
    plan::check_cluster(&wish.cluster)?;
    change(config, &args.domains, args.dry_run, |known| plan::to_add(known, &wish))
}

/// `channel remove`.
pub fn remove(config: &Config, args: &RemoveArgs) -> Result<ChangeReport, ChannelError> {
    let guests_dir = config.guests_dir();
    let plan = |known: &Known| Ok(plan::to_remove(known, args.keep_cluster, Path::new(&guests_dir)));
    change(config, &args.domains, args.dry_run, plan)
}

fn change(
    config: &Config,
    domains: &[String],
    dry_run: bool,
    plan: impl Fn(&Known) -> Result<Vec<Step>, Refusal>,
) -> Result<ChangeReport, ChannelError> {
    let machines = Host::open(&config.libvirt_uri, !dry_run)?.machines(domains)?;
    let plans = machines.iter().map(|machine| plan(&machine.known)).collect::<Result<Vec<_>, _>>()?;
    let each = |(machine, steps): (&Machine, Vec<Step>)| match dry_run {
        true => apply::rehearse(machine, &steps),
        false => apply::apply(machine, &steps, &config.control_socket()),
    };
    Ok(ChangeReport { dry_run, domains: machines.iter().zip(plans).map(each).collect() })
}
