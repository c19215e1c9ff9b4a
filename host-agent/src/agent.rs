//! What all sessions share.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::channel::board::Board;
use crate::host_status::Facts;
use crate::hypervisor::Hypervisor;
use crate::inventory::{Hint, Inventory};
use crate::orders::Orders;
use crate::policy::Policy;

/// The running agent, as its sessions see it.
#[derive(Clone)]
pub struct Agent {
    /// The hypervisor of this host.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// The domains of this host.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// The rules that hold.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// The orders under way.
    pub orders: Arc<Orders>,
    /// How each channel is.
    pub board: Board,
    /// What guests may know of the host.
    pub host_status: Facts,
    /// What makes the inventory look at a domain sooner.
    pub hints: mpsc::Sender<Hint>,
    /// Set when the agent shuts down.
    pub stopping: watch::Receiver<bool>,
}

impl Agent {
    /// The domains now.
    #[must_use]
    pub fn domains(&self) -> Arc<Inventory> {
        self.inventory.borrow().clone()
    }

    /// The rules now.
    #[must_use]
    pub fn rules(&self) -> Arc<Policy> {
        self.policy.borrow().clone()
    }
}
