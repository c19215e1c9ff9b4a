//! A process that is only thought of.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use crate::domain::{Instance, InstanceId, Process};

/// A process that lives until it ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Living(Arc<AtomicBool>);

impl Living {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn instance(&self) -> Instance {
        Instance { id: InstanceId { pid: 1, started: 1 }, process: Arc::new(self.clone()) }
    }

    pub(super) fn ends(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Process for Living {
    fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    async fn gone(&self) {}

    fn kill(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_peer(&self, _pid: i32) -> bool {
        false
    }

    fn describe(&self) -> String {
        String::new()
    }
}
