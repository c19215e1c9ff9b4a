//! Takes up the orders that were open when the agent ended.
//!
//! In:  the journal. Out: each open order goes on, to its end.
//!
//! Invariant: an order is finished by looking at the instance that it was about; nobody is told more than what is seen now or
//! was written down as seen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::carry::carry_out;
use super::errand::{Before, Errand};
use super::open::View;
use super::{Orders, Running};
use crate::domain::Sighting;
use crate::journal::Known;
use crate::order::Proof;

/// How long an order waits for libvirt's first word, after which it goes on without.
const LIBVIRT_PATIENCE: Duration = Duration::from_secs(5);
/// What is left to an order in the least: enough to look, and to start what was stopped.
const LEAST: Duration = Duration::from_secs(15);

/// Takes up all of them.
pub(super) fn all(orders: &Arc<Orders>) {
    let mut state = orders.lock();
    let known: Vec<_> = state.journal.orders().map(|(number, known)| (number, known.clone())).collect();
    for (number, known) in known {
        state.arbiter.restore(number, &known);
        if known.ended.is_some() {
            continue;
        }
        let Ok(slot) = orders.work.try_reserve() else {
            tracing::error!(order = number, "too many orders were open: this one is not taken up");
            continue;
        };
        tracing::info!(order = number, target = %known.acting.permit.name(), "taking up an order of before the restart");
        let proof = known.off.map(Proof::recorded);
        let (sender, view) = watch::channel(View { proof, ..View::default() });
        let (target, until) = (known.acting.permit.target(), known.acting.until);
        let asked = known.acting.askers.iter().map(|asked| (*asked, Instant::now())).collect();
        state.running.insert(number, Running { view, target, asked, until, joined: None });
        state.arbiter.starting(target, known.acting.permit.power(), true); // who asks now asks about what is there now
        slot.send(Box::pin(resume(orders.clone(), known, sender)));
    }
}

async fn resume(orders: Arc<Orders>, known: Known, view: watch::Sender<View>) {
    let mut inventory = orders.inventory.clone();
    let _ = timeout(LIBVIRT_PATIENCE, inventory.wait_for(|now| now.is_complete())).await;
    let acting = known.acting;
    let held = acting.instance.map_or(Sighting::Absent, |id| orders.hypervisor.instance_again(id));
    let until = acting.until.min(acting.accepted + orders.patience.give_up_after);
    let left = until.saturating_sub(orders.now());
    let before = Before {
        held: held.instance(),
        off: known.off.map(Proof::recorded),
        in_time: !left.is_zero(),
        acting,
    };
    let (number, permit, accepted) =
        (before.acting.order, before.acting.permit.clone(), before.acting.accepted);
    let (grace, deadline) = (orders.patience.kill_after.min(left / 2), left.max(LEAST));
    let errand = Errand::new(number, permit, accepted, grace, deadline);
    carry_out(orders, errand.resumed(before), view).await;
}
