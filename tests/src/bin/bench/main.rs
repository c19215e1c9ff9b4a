//! Measures the agent against direct libvirt calls, in turn, in one run; `make bench` starts it.
//!
//! In:  a machine where the lab runs; release builds beside this program.
//! Out: a table on stdout and `docs/performance.md`. Never a test: a machine that is busy has other figures.
//!
//! The agent listens to a domain's own QEMU only: the pid that libvirt's pid file names, with the domain's UUID after
//! `-uuid` in its command line. This program is that process for its askers, domains that are never started: root writes
//! their pid files, and it starts itself again with their UUIDs as its arguments.

mod askers;
mod crowd;
mod error;
mod looks;
mod machine;
mod power;
mod report;
mod samples;
mod stage;

use std::env;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

use error::Result;
use fence_vmchannel_tests::Lab;
use report::Report;
use stage::Stage;

fn main() -> Result<()> {
    let identities = askers::identities(env::args())?;
    if identities.is_empty() {
        return Err(Command::new(env::current_exe()?).args(askers::new_identities()?).exec().into());
    }
    let lab = Lab::start()?;
    let mut stage = Stage::set(&lab, &identities)?;
    let mut report = Report::of(machine::facts(&stage.libvirt)?);
    stage.start_some()?;
    looks::status(&mut stage, &mut report)?;
    looks::list(&mut stage, &mut report)?;
    power::off(&mut stage, &mut report)?;
    power::on(&mut stage, &mut report)?;
    power::reboot(&mut stage, &mut report)?;
    crowd::offs(&mut stage, &mut report)?;
    stage.start_all()?;
    looks::all_running(&mut stage, &mut report)?;
    report.holds(stage.agent.holdings()?);
    writeln!(std::io::stdout(), "{report}")?;
    report.keep()
}
