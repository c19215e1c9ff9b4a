//! `channel add|remove|show`: gives domains their channel and their cluster, through libvirt.
//!
//! In:  names or UUIDs, and what is wanted. Out: what was changed, step by step.
//!
//! Invariant: when one of the domains cannot get what is wanted, none is changed; works without the agent.

mod apply;
mod definition;
pub mod key;
mod machine;
mod nearest;
mod plan;
mod ports;
mod report;
mod show;
mod socket;

use std::time::Duration;

use super::cli::{AddArgs, RemoveArgs};
use super::convert;
use crate::config::Config;
use crate::domain::{Mode, Port};
use machine::{Host, Machine, within};
use plan::{Known, Step, Wish};

pub use machine::LibvirtError;
pub use plan::Refusal;
pub use report::ChangeReport;
use report::DomainReport;
pub use show::{ShowReport, show};

/// How long libvirt may take: one domain that is being destroyed holds everything up for 11 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// And for each domain to be changed.
const PATIENCE_EACH: Duration = Duration::from_secs(3);

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
    let mut report = change(config, &args.domains, args.dry_run, move |known| plan::to_add(known, &wish))?;
    if !args.dry_run {
        report.domains.iter_mut().for_each(DomainReport::tell_next);
    }
    Ok(report)
}

/// `channel remove`.
pub fn remove(config: &Config, args: &RemoveArgs) -> Result<ChangeReport, ChannelError> {
    let guests_dir = config.guests_dir();
    let keep_cluster = args.keep_cluster;
    let plan = move |known: &Known| Ok(plan::to_remove(known, keep_cluster, &guests_dir));
    change(config, &args.domains, args.dry_run, plan)
}

/// All domains of this host's libvirt, for other commands.
pub(super) fn machines_of(uri: &str) -> Result<Vec<convert::Machine>, LibvirtError> {
    let uri = uri.to_owned();
    within(PATIENCE_EACH, move || {
        let machines = Host::open(&uri, false)?.machines(&[])?;
        let machine = |Machine { known, .. }: Machine| {
            let cluster = known.live.as_ref().or(known.persistent.as_ref()).and_then(|d| d.cluster.clone());
            convert::Machine { name: known.name, uuid: known.uuid, cluster }
        };
        Ok(machines.into_iter().map(machine).collect())
    })
}

fn change(
    config: &Config,
    domains: &[String],
    dry_run: bool,
    plan: impl Fn(&Known) -> Result<Vec<Step>, Refusal> + Send + 'static,
) -> Result<ChangeReport, ChannelError> {
    let (config, domains) = (config.clone(), domains.to_vec());
    let each = u32::try_from(domains.len()).unwrap_or(u32::MAX);
    let deadline = PATIENCE.saturating_add(PATIENCE_EACH.saturating_mul(each));
    within(deadline, move || {
        let machines = Host::open(&config.libvirt_uri, !dry_run)?.machines(&domains)?;
        let plans = machines.iter().map(|machine| plan(&machine.known)).collect::<Result<Vec<_>, _>>()?;
        let each = |(machine, steps): (&Machine, Vec<Step>)| match dry_run {
            true => apply::rehearse(machine, &steps),
            false => apply::apply(machine, &steps, &config.control_socket()),
        };
        Ok(ChangeReport { dry_run, domains: machines.iter().zip(plans).map(each).collect() })
    })
}
