//! How one round of kills goes.
//!
//! In:  dice. Out: a [`Fate`].

use std::thread;
use std::time::Duration;

use fence_vmchannel_protocol::Power;
use fence_vmchannel_tests::{Dice, Lab, Result};

/// Acceptance, the journal's first lines and the stop fall into this time.
const HOT: Duration = Duration::from_millis(40);
/// An order is over so soon, also a reboot.
const ORDER: Duration = Duration::from_millis(700);

/// How one round goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub(super) power: Power,
    /// Whether the target runs before.
    pub(super) runs: bool,
    /// Whether another guest asks for the same.
    pub(super) is_joined: bool,
    /// What is asked about another guest meanwhile.
    pub(super) other: Power,
    /// When the agent is killed, after the requests were sent.
    pub(super) killed_at: Duration,
    /// When it is killed once more, after it was ready again.
    pub(super) killed_again_at: Option<Duration>,
    pub(super) libvirtd: Option<Blow>,
    /// Whether it is killed once more after all verdicts, and everything is asked again.
    pub(super) is_repeated: bool,
}

/// What happens to libvirtd, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blow {
    Killed(Duration),
    Stopped(Duration),
}

fn power(dice: &mut Dice) -> Power {
    match dice.below(3) {
        0 => Power::Off,
        1 => Power::Reboot,
        _ => Power::On,
    }
}

pub(super) fn fate(dice: &mut Dice) -> Fate {
    let power_of_target = power(dice);
    let away = dice.between(Duration::ZERO, Duration::from_millis(1500));
    let latest = if dice.below(2) == 0 { HOT } else { ORDER };
    Fate {
        power: power_of_target,
        runs: power_of_target != Power::On,
        is_joined: dice.below(2) == 0,
        other: power(dice),
        killed_at: dice.between(Duration::ZERO, latest),
        killed_again_at: (dice.below(4) == 0).then(|| dice.between(Duration::ZERO, ORDER)),
        libvirtd: match dice.below(10) {
            0 => Some(Blow::Killed(away)),
            1 => Some(Blow::Stopped(away)),
            _ => None,
        },
        is_repeated: dice.below(3) == 0,
    }
}

impl Blow {
    pub(super) fn strike(self, lab: &Lab) -> Result<()> {
        let (Self::Killed(away) | Self::Stopped(away)) = self;
        match self {
            Self::Killed(_) => lab.libvirtd_kill()?,
            Self::Stopped(_) => lab.libvirtd_stop()?,
        }
        thread::sleep(away); // how long it is away is the test
        if matches!(self, Self::Killed(_)) { lab.libvirtd_start() } else { lab.libvirtd_cont() }
    }
}
