//! Finds out how a target ended whose process is gone.
//!
//! In:  an order's carrier, libvirt's fresh word. Out: what its process's end means, or that libvirt is silent.
//!
//! Invariant: whatever libvirt says or does not say, no other process of the domain runs in the place of the one that ended.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::carry::{Brought, Call, Carrier, told};
use super::find::runs_again;
use crate::domain::Domain;
use crate::hypervisor::{CallError, WORD_IS_GOOD_FOR};
use crate::inventory::settled;
use crate::order::Event;

/// How long libvirt is waited for when its word is not needed for the proof. Its own destroy holds its answers up for 200 ms.
const SILENCE: Duration = Duration::from_millis(500);
/// How long, and how often, a libvirt is asked again of which only our own line is full. Calls that are under way end meanwhile: what is left
/// hangs.
const BUSY_PATIENCE: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long to wait for libvirt's call to stop a domain that is gone already.
const CALL_PATIENCE: Duration = Duration::from_secs(3);

impl Carrier {
    /// libvirt's fresh word on how it ended. What is known to have moved has moved, also where libvirt has forgotten that.
    pub(super) fn confirm(&self, answered: watch::Sender<bool>) -> BoxFuture<'static, Brought> {
        let (call, gone) = (self.call.subscribe(), Instant::now());
        let domain = self.ended();
        let another = self.another();
        self.ask(|orders, permit| {
            Box::pin(async move {
                let heard = || {
                    answered.send_replace(true);
                };
                let until = gone + BUSY_PATIENCE;
                let ended = loop {
                    let ended = match &domain {
                        Some(domain) => settled(&*orders.hypervisor, domain, heard).await,
                        None => orders.hypervisor.standing(permit.target()).await,
                    };
                    match ended {
                        Err(CallError::Busy) if Instant::now() <= until => sleep(ASK_AGAIN).await,
                        ended => break ended,
                    }
                };
                let is_silent = ended.as_ref().is_err_and(is_silence);
                if !is_silent {
                    heard();
                }
                let event = match ended {
                    Err(CallError::NoDomain) => forgotten(call, gone).await,
                    Err(error) if is_silence(&error) => Event::Unconfirmable(error.to_string()),
                    ended => Event::Confirmed(told(ended)),
                };
                if another.await { Event::RunsAgain } else { event }
            })
        })
    }

    /// The domain, with the process that ended.
    fn ended(&self) -> Option<Domain> {
        let ended =
            |domain: &Arc<Domain>| Domain { instance: self.instance.clone(), ..Domain::clone(domain) };
        self.domain.as_ref().map(ended)
    }

    /// Whether another process of the domain runs in the place of the one that ended, at the time of the first poll.
    fn another(&self) -> BoxFuture<'static, bool> {
        let (orders, domain, instance) = (self.orders.clone(), self.ended(), self.instance.clone());
        Box::pin(async move {
            match domain.zip(instance) {
                Some((domain, gone)) => runs_again(&*orders.hypervisor, &domain, &gone, Instant::now()).await,
                None => false,
            }
        })
    }

    /// libvirt was asked how the target ended. That it has answered, with whatever, is no silence.
    pub(super) fn silence(&self, answered: watch::Sender<bool>) -> BoxFuture<'static, Brought> {
        let another = self.another();
        self.ask(|orders, permit| {
            Box::pin(async move {
                // Another question has its own time, which begins when it is asked: what waits in our own line waits for us.
                let begun = Instant::now();
                let until = begun + BUSY_PATIENCE;
                let said = loop {
                    match orders.hypervisor.job(&permit, SILENCE).await {
                        Err(CallError::Busy) if Instant::now() < until => sleep(ASK_AGAIN).await,
                        said => break said,
                    }
                };
                let is_silent = said.as_ref().is_err_and(is_silence);
                sleep_until(begun + SILENCE).await;
                let runs_again = another.await;
                if !is_silent || *answered.borrow() {
                    std::future::pending::<()>().await;
                }
                if runs_again { Event::RunsAgain } else { Event::LibvirtIsSilent }
            })
        })
    }
}

/// Whether there is no libvirt that answers.
fn is_silence(error: &CallError) -> bool {
    matches!(error, CallError::Unreachable(_) | CallError::Deadline(_) | CallError::Busy)
}

/// libvirt forgets a transient domain with its run, whether it stopped it or saw it move; its own call to stop it tells which.
/// One that had returned long before the process was gone told nothing.
async fn forgotten(mut call: watch::Receiver<Call>, gone: Instant) -> Event {
    let returned = timeout(CALL_PATIENCE, call.wait_for(Call::is_over)).await;
    match returned.ok().and_then(Result::ok).map(|call| *call) {
        Some(Call::Returned { ok: true, at }) if at + WORD_IS_GOOD_FOR >= gone => Event::StoppedAndForgotten,
        Some(Call::None | Call::UnderWay | Call::Returned { .. }) | None => {
            Event::Confirmed(Err(CallError::NoDomain.to_string()))
        }
    }
}
