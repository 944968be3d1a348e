//! A carrier changes its timeout: how few outcomes tell.

use flyball_sdk::device::id::DeviceId;

/// A change that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Bindings no longer outlive the interval in force.
    Shorter,
    /// They outlive what was thought to be the longest lifetime.
    Longer,
}

/// Watches one cohort at the interval in force.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    score: u32,
}

impl Watch {
    /// One outcome of a silence no longer than the interval in force, control alive. `error_rate` is the probability of
    /// an expiry while nothing has changed, as learnt.
    pub fn at_interval(&mut self, device: DeviceId, is_survival: bool, error_rate: f64) -> Option<Change> {
        let _ = (device, is_survival, error_rate);
        self.score = 0;
        None
    }

    /// One outcome of a silence longer than the upper bound of the lifetime.
    pub fn above(&mut self, device: DeviceId, is_survival: bool, error_rate: f64) -> Option<Change> {
        let _ = (device, is_survival, error_rate);
        None
    }

    /// After a change, or another interval: from the start.
    pub fn restart(&mut self) {
        *self = Self::default();
    }
}
