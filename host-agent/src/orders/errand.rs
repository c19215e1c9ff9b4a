//! What is to be carried out, and what the journal must know of it.
//!
//! In:  a permit, or what the journal tells of an order that was open when the agent ended. Out: how the order begins, and
//! its lines in the journal.
//!
//! Invariant: an order of before a restart stops only the instance that it was about, and only in its time; whoever was
//! started since is left alone, and its domain is not called off.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::Power;

use super::carry::Brought;
use crate::arbiter::OrderNumber;
use crate::domain::{Domain, Instance, InstanceId, Standing};
use crate::hypervisor::Recipe;
use crate::journal::{Acting, Asked, Journal};
use crate::order::{Event, Found, Order, Proof, Step};
use crate::policy::Permit;

/// One order to be carried out.
pub(super) struct Errand {
    pub(super) number: OrderNumber,
    pub(super) permit: Permit,
    /// How long libvirt may take to stop the target.
    pub(super) grace: Duration,
    /// How long the order may take from now on.
    pub(super) deadline: Duration,
    /// When it was accepted, since the host's boot.
    pub(super) accepted: Duration,
    /// What is known of it from before a restart.
    pub(super) before: Option<Before>,
    /// The instance that the journal knows to be the order's.
    noted: Option<Option<InstanceId>>,
    noted_off: bool,
}

/// What an order did before the agent was restarted.
#[derive(Clone)]
pub(super) struct Before {
    pub(super) acting: Acting,
    /// Its target's process of that time, if it lives.
    pub(super) held: Option<Instance>,
    pub(super) off: Option<Proof>,
    /// Whether its askers may still wait.
    pub(super) in_time: bool,
}

impl Errand {
    pub(super) fn new(
        number: OrderNumber,
        permit: Permit,
        accepted: Duration,
        grace: Duration,
        deadline: Duration,
    ) -> Self {
        Self { number, permit, grace, deadline, accepted, before: None, noted: None, noted_off: false }
    }

    /// The same order, taken up after a restart.
    pub(super) fn resumed(self, before: Before) -> Self {
        let (noted, noted_off) = (Some(before.acting.instance), before.off.is_some());
        Self { before: Some(before), noted, noted_off, ..self }
    }

    /// Its first state and step.
    pub(super) fn beginning(&self) -> (Order, Step) {
        Order::again(self.permit.power(), self.before.as_ref().and_then(|before| before.off))
    }

    /// What was stopped before a restart: it may live still, and must not act.
    pub(super) fn stopped(&self) -> Option<InstanceId> {
        let before = self.before.as_ref().filter(|_| self.permit.power() != Power::On);
        before.and_then(|before| before.acting.instance)
    }

    /// How its target can be started again, as far as it was learned before a restart.
    pub(super) fn recipe(&self) -> Option<Recipe> {
        self.before.as_ref().and_then(|before| before.acting.recipe.clone())
    }

    /// The target as it is known now; of an order of before a restart also the process that is held since.
    pub(super) fn with_held(&self, known: Option<Arc<Domain>>) -> Option<Arc<Domain>> {
        let Some(before) = &self.before else { return known };
        let known = known.map_or_else(|| before.domain(&self.permit), |known| Domain::clone(&known));
        let instance = if known.is_alive() { known.instance.clone() } else { before.held.clone() };
        Some(Arc::new(Domain { instance: instance.or(known.instance.clone()), ..known }))
    }

    /// What the journal is to know before it acts.
    pub(super) fn acting(
        &self,
        (askers, until): (Vec<Asked>, Duration),
        instance: Option<InstanceId>,
        persistent: bool,
        recipe: Option<Recipe>,
    ) -> Acting {
        let (order, permit, accepted) = (self.number, self.permit.clone(), self.accepted);
        let instance = instance.or(self.noted.flatten());
        Acting { order, permit, askers, accepted, until, instance, persistent, recipe }
    }

    /// Writes down what is not written yet.
    pub(super) fn write(
        &mut self,
        journal: &mut Journal,
        acting: Acting,
        off: Option<Proof>,
    ) -> io::Result<()> {
        let instance = acting.instance;
        if self.noted != Some(instance) {
            journal.acting(acting)?;
            self.noted = Some(instance);
        }
        if let Some(proof) = off.filter(|_| !self.noted_off) {
            journal.off(self.number, proof.evidence())?;
            self.noted_off = true;
        }
        Ok(())
    }
}

impl Before {
    /// The target as the journal tells it, while libvirt does not.
    fn domain(&self, permit: &Permit) -> Domain {
        Domain {
            uuid: permit.target(),
            name: permit.name().clone(),
            standing: Standing::Unclear,
            persistent: self.acting.persistent,
            cluster: None,
            channels: Vec::new(),
            owner: None,
            instance: None,
        }
    }

    /// What was found, unless nothing may be done about it: it is another run than the one that the order was about, or
    /// nobody waits for the order any more.
    pub(super) fn only_what_it_was_about(&self, permit: &Permit, (event, instance): Brought) -> Brought {
        let nothing = |why: &str| Event::Found(Found::Nothing(why.into()));
        let stops = permit.power() != Power::On && self.off.is_none();
        let event = match (&event, &instance) {
            (_, Some(found)) if stops && self.acting.instance != Some(found.id) => {
                nothing("it was started again while the agent was away: ask again")
            }
            // What can be said without doing anything is said.
            (Event::Found(Found::NotRunning(..) | Found::Forgotten), _) if permit.power() == Power::Off => {
                event
            }
            (Event::Found(_), _) if !self.in_time => {
                nothing("the agent was away for longer than anybody waits for this order: ask again")
            }
            _ => event,
        };
        (event, instance)
    }
}
