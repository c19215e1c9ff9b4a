//! What happens to libvirtd all the time, and to the agent in the first part of the soak.

use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::{Dice, Result};

use super::{Counts, RESTARTS, Soak};

/// Between two blows.
const CALM: Duration = Duration::from_secs(3);
const LONG_CALM: Duration = Duration::from_secs(9);
const AWAY: Duration = Duration::from_secs(2);
/// An agent that is asked to end has no more time.
const DRAIN: Duration = Duration::from_secs(5);

/// Strikes until the soak ends.
pub(super) fn rage(soak: &Soak<'_>, mut dice: Dice) {
    for turn in 0_usize.. {
        soak.rest(dice.between(CALM, LONG_CALM));
        if !soak.goes_on() {
            return;
        }
        let agent_may_die = soak.begun.elapsed() < soak.lasts * RESTARTS / 100;
        let struck = match (agent_may_die, turn % 3) {
            (true, 0) => soak.agent().restart(),
            (true, 1) => agent_is_asked_to_end(soak),
            _ => match dice.below(4) {
                0 => soak.lab.libvirtd_hup(),
                1 => libvirtd_hangs(soak, &mut dice),
                _ => libvirtd_is_away(soak, &mut dice),
            },
        };
        if let Err(error) = struck {
            return soak.violation(&format!("something does not come back: {error}"));
        }
        Counts::one_more(&soak.counts.blows);
        if soak.begun.elapsed() >= soak.lasts * RESTARTS / 100 {
            soak.settled().get_or_insert_with(Instant::now);
        }
    }
}

fn libvirtd_is_away(soak: &Soak<'_>, dice: &mut Dice) -> Result<()> {
    soak.lab.libvirtd_kill()?;
    thread::sleep(dice.between(Duration::ZERO, AWAY)); // how long it is away is the test
    soak.lab.libvirtd_start()
}

fn libvirtd_hangs(soak: &Soak<'_>, dice: &mut Dice) -> Result<()> {
    soak.lab.libvirtd_stop()?;
    thread::sleep(dice.between(Duration::ZERO, AWAY)); // how long it hangs is the test
    soak.lab.libvirtd_cont()
}

fn agent_is_asked_to_end(soak: &Soak<'_>) -> Result<()> {
    let begun = Instant::now();
    let mut agent = soak.agent();
    let ended = agent.stop()?;
    if ended != Some(0) || begun.elapsed() > DRAIN {
        soak.violation(&format!("asked to end, the agent ended with {ended:?} after {:?}", begun.elapsed()));
    }
    agent.restart()
}
