//! What is known of each power request.

use fence_vmchannel_protocol::Power;

use super::Essence;

/// A power request of one guest, over all its connections.
pub(super) struct Known {
    /// The run that asked.
    pub(super) by: usize,
    pub(super) target: Option<usize>,
    pub(super) power: Power,
    pub(super) first: u64,
    /// When it was written last on any of them.
    pub(super) begins: u64,
    /// What was told, and by which agent.
    pub(super) told: Option<(Essence, u64)>,
    /// How many its guest had been told then: the agent keeps 64 verdicts of each.
    pub(super) told_at: usize,
    pub(super) is_open: bool,
    /// How many runs there had been when it gave up: no later one is stopped for it.
    pub(super) gave_up: Option<usize>,
}

impl Known {
    pub(super) fn new(by: usize, power: Power, target: Option<usize>, begins: u64) -> Self {
        let (first, told) = (begins, None);
        Self { by, target, power, first, begins, told, told_at: 0, is_open: true, gave_up: None }
    }
}
