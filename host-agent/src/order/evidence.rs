//! The one door to "it is off".
//!
//! In:  a process or libvirt's fresh word. Out: a [`Proof`], or nothing.
//!
//! Invariant: a [`Proof`] can be made only here, and only of what was seen.

use fence_vmchannel_protocol::Evidence;

use crate::domain::{Instance, Sighting, Standing};

/// It was seen that the target is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof(Evidence);

impl Proof {
    /// The process of this instance has exited, all its threads with it.
    #[must_use]
    pub fn process_gone(instance: &Instance) -> Option<Self> {
        instance.process.is_gone().then_some(Self(Evidence::ProcessGone))
    }

    /// libvirt, asked now, says shut off, and there is no process with the domain's UUID.
    #[must_use]
    pub fn never_ran_here(standing: Standing, process: &Sighting) -> Option<Self> {
        (standing == Standing::ShutOff && *process == Sighting::Absent)
            .then_some(Self(Evidence::NeverRanHere))
    }

    /// What this agent had seen, and written down, before it was restarted.
    #[must_use]
    pub(crate) fn recorded(evidence: Evidence) -> Self {
        Self(evidence)
    }

    /// What was seen.
    #[must_use]
    pub fn evidence(self) -> Evidence {
        self.0
    }
}
