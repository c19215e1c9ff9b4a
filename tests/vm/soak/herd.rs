//! Guests that are defined, started, stopped and forgotten, over and over.

use std::time::Duration;

use fence_vmchannel_tests::{Channel, Dice, Guest, Result};

use super::{Counts, Soak};

/// How many names there are: each guest of a name has another UUID.
const NAMES: u64 = 3;

/// Drives guests through until the soak ends. What libvirt refuses because it is just being killed is tried again.
pub(super) fn drive(soak: &Soak<'_>, number: usize, mut dice: Dice) {
    while soak.goes_on() {
        let name = format!("herd{number}-{}", dice.below(NAMES));
        match pass(soak, &name, &mut dice) {
            Ok(()) => Counts::one_more(&soak.counts.guests),
            Err(_) => forget(soak, &name),
        }
        soak.rest(dice.between(Duration::ZERO, Duration::from_secs(1)));
    }
}

fn pass(soak: &Soak<'_>, name: &str, dice: &mut Dice) -> Result<()> {
    let plan = Guest::named(name).in_cluster("web").with(Channel::VirtioConnect).cheap();
    let guest = if dice.below(2) == 0 { plan.transient().start(soak.lab)? } else { plan.start(soak.lab)? };
    soak.rest(dice.between(Duration::ZERO, Duration::from_secs(3)));
    if dice.below(3) == 0 {
        return guest.process()?.kill(); // it dies by itself
    }
    guest.destroy()
}

/// A guest whose end was not seen by libvirt is in the way of the next one of its name.
fn forget(soak: &Soak<'_>, name: &str) {
    for word in ["destroy", "undefine"] {
        soak.lab.virsh_within(Duration::from_secs(5), &[word, name]).ok();
    }
}
