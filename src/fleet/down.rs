//! Doors that ended before the process did: an orchestrator is told, and the rest of the house goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A door for devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Heartbeats over UDP.
    Heartbeat,
    /// Gateways' streams.
    Gateways,
}

/// Which doors are down. Cheap to clone: clones share it.
#[derive(Debug, Clone, Default)]
pub struct DoorsDown(Arc<[AtomicBool; 2]>);

impl DoorsDown {
    /// The door ended.
    pub fn note(&self, door: Door) {
        self.0[door as usize].store(true, Ordering::Relaxed);
    }

    /// Each door with the name that a degradation has, and whether it is down.
    pub fn all(&self) -> [(&'static str, bool); 2] {
        let is_down = |door: Door| self.0[door as usize].load(Ordering::Relaxed);
        [("heartbeat", is_down(Door::Heartbeat)), ("gateways", is_down(Door::Gateways))]
    }
}
