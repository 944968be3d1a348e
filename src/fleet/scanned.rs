//! What a door finds when it scans a cohort.

use std::time::Duration;

use crate::keepalive::alarm::SCAN_MAX;
use crate::keepalive::alarm::health::DeviceHealth;

/// A device that has not answered by then is silent: two tries over the slowest network.
pub const SCAN_WAIT: Duration = Duration::from_secs(5);

/// The worst devices of a cohort.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scanned {
    /// What was found of each.
    pub devices: Vec<DeviceHealth>,
    /// Devices of the cohort that were not looked at.
    pub more: u64,
}

impl Scanned {
    /// What another part of the door found; of both the worst are kept.
    pub fn add(&mut self, other: Self) {
        self.devices.extend(other.devices);
        self.devices.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()).then_with(|| a.device.0.cmp(&b.device.0)));
        self.more += other.more + self.devices.len().saturating_sub(SCAN_MAX) as u64;
        self.devices.truncate(SCAN_MAX);
    }
}
