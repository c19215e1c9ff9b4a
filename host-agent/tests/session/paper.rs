//! What a journal is written on, held by the test: it outlives the agent, and can be full.

use std::io;
use std::sync::{Arc, Mutex};

use fence_vmchannel_host_agent::journal::Store;

#[derive(Debug, Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<(Vec<u8>, bool)>>);

impl Paper {
    pub(crate) fn content(&self) -> Vec<u8> {
        self.0.lock().unwrap().0.clone()
    }

    /// There is no room on it any more, or there is again.
    pub(crate) fn is_full(&self, full: bool) {
        self.0.lock().unwrap().1 = full;
    }

    fn with_room(&self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let (content, full) = &mut *self.0.lock().unwrap();
        if *full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write(content);
        Ok(())
    }
}

impl Store for Paper {
    fn append(&mut self, bytes: &[u8], _: u64) -> io::Result<()> {
        self.with_room(|content| content.extend_from_slice(bytes))
    }

    fn replace(&mut self, bytes: &[u8], _: u64) -> io::Result<()> {
        self.with_room(|content| *content = bytes.to_vec())
    }
}
