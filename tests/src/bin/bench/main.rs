//! Measures the agent against direct libvirt calls, in turn, in one run; `make bench` starts it.
//!
//! In:  a machine where the lab runs; release builds beside this program.
//! Out: a table on stdout and `docs/performance.md`. Never a test: a machine that is busy has other figures.

mod askers;
mod crowd;
mod error;
mod looks;
mod machine;
mod memory;
mod power;
mod report;
mod samples;
mod speaker;
mod stage;

use std::env;
use std::io::Write;

use error::Result;
use fence_vmchannel_tests::Lab;
use memory::Held;
use report::Report;
use stage::Stage;

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["-uuid", _] => speaker::speak(),
        [memory::CONNECTED, uri] => memory::hold_a_connection(uri),
        _ => measure(),
    }
}

fn measure() -> Result<()> {
    let lab = Lab::start()?;
    let mut stage = Stage::set(&lab)?;
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
    report.holds("the agent", Held::by(stage.agent.pid())?);
    report.holds("a process that only holds a connection to libvirt", Held::by_a_connection(&lab)?);
    writeln!(std::io::stdout(), "{report}")?;
    report.keep()
}
