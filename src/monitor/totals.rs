//! What was counted, of one cohort or of all, since the program was loaded.

use super::histogram::Histogram;
use super::mirror::CohortCounts;

/// Sums over all devices of a cohort.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets from devices.
    pub from: u64,
    /// Packets to devices.
    pub to: u64,
    /// Devices that were not known.
    pub new_devices: u64,
    /// Known devices at another address.
    pub rebindings: u64,
    /// Known devices at another address, with another connection id.
    pub migrations: u64,
    /// Sequence numbers that never came.
    pub missed: u64,
    /// Sequence numbers that came again, or late.
    pub stale: u64,
    /// Time between two packets from a device.
    pub gaps: Histogram,
    /// TCP connections that ended.
    pub connections: u64,
    /// TCP connections that were established, and nothing got through.
    pub unreachable: u64,
    /// How long those that ended had lived.
    pub lives: Histogram,
}

impl From<&CohortCounts> for Totals {
    fn from(counts: &CohortCounts) -> Self {
        Self {
            from: counts.from,
            to: counts.to,
            new_devices: counts.new_devices,
            rebindings: counts.rebindings,
            migrations: counts.migrations,
            missed: counts.missed,
            stale: counts.stale,
            gaps: Histogram::new(counts.gaps, counts.gap_sum),
            connections: counts.connections,
            unreachable: counts.unreachable,
            lives: Histogram::new(counts.lives, counts.life_sum),
        }
    }
}

impl Totals {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.from, other.from),
            (&mut self.to, other.to),
            (&mut self.new_devices, other.new_devices),
            (&mut self.rebindings, other.rebindings),
            (&mut self.migrations, other.migrations),
            (&mut self.missed, other.missed),
            (&mut self.stale, other.stale),
            (&mut self.connections, other.connections),
            (&mut self.unreachable, other.unreachable),
        ];
        for (mine, theirs) in pairs {
            *mine = mine.saturating_add(theirs);
        }
        self.gaps.merge(&other.gaps);
        self.lives.merge(&other.lives);
    }

    /// Whether anything was counted at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
