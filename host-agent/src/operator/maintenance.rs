//! `maintenance`: tells the guests that their host is to be worked on.
//!
//! In:  on, off or show. Out: what holds now.
//!
//! Invariant: works without the agent; changes nothing but the flag: nothing is stopped, moved or refused because of it.

use std::io::{self, Write};

use serde::Serialize;

use super::cli::Announcement;
use super::report::Report;
use crate::config::Config;
use crate::host_status::{FlagError, Maintenance};

/// What `maintenance` prints.
#[derive(Debug, Serialize)]
pub struct MaintenanceReport {
    maintenance: bool,
}

/// Sets or shows the flag.
///
/// # Errors
/// When it cannot be set or seen.
pub fn maintenance(config: &Config, what: Announcement) -> Result<MaintenanceReport, FlagError> {
    let flag = Maintenance::of(&config.runtime_dir);
    match what {
        Announcement::On => flag.set(true)?,
        Announcement::Off => flag.set(false)?,
        Announcement::Show => {}
    }
    Ok(MaintenanceReport { maintenance: flag.is_on()? })
}

impl Report for MaintenanceReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "maintenance is {}", if self.maintenance { "on" } else { "off" })
    }
}
