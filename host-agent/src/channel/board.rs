//! How each channel is, for the operator.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::domain::ChannelSpec;

/// How a channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// Nobody is connected.
    Waiting,
    /// The guest is served.
    Served,
    /// QEMU serves another program on this socket.
    Occupied,
    /// It cannot be served.
    Failed(String),
}

impl std::fmt::Display for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting"),
            Self::Served => f.write_str("served"),
            Self::Occupied => f.write_str("occupied"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

type Places = HashMap<(Uuid, PathBuf), Served>;

/// How all channels are.
#[derive(Debug, Default, Clone)]
pub struct Board(Arc<Mutex<Places>>);

impl Board {
    /// How this channel is.
    #[must_use]
    pub fn of(&self, domain: Uuid, spec: &ChannelSpec) -> Served {
        self.lock().get(&(domain, spec.path.clone())).cloned().unwrap_or(Served::Waiting)
    }

    /// A place on the board, taken off when it is dropped.
    #[must_use]
    pub fn place(&self, domain: Uuid, path: &Path) -> Place {
        let place = Place { board: self.clone(), key: (domain, path.to_owned()) };
        place.set(Served::Waiting);
        place
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One channel's place on the board.
#[derive(Debug)]
pub struct Place {
    board: Board,
    key: (Uuid, PathBuf),
}

impl Place {
    /// Says how the channel is; `true` if that is new.
    pub fn set(&self, served: Served) -> bool {
        let old = self.board.lock().insert(self.key.clone(), served.clone());
        old != Some(served)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.board.lock().remove(&self.key);
    }
}
