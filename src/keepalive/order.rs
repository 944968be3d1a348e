//! What devices are told: a snapshot with one order a cohort, and commands for single devices.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::probe::ProbeOrder;

use super::cohort::{CohortIndex, CohortKey};
use super::observation::BindingClass;

/// Everything that the edges need to answer devices, at one generation; swapped whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Orders {
    /// `max(last + 1, unix milliseconds)`.
    pub generation: u64,
    /// One order a cohort, by its index.
    pub cohorts: Vec<Arc<CohortOrder>>,
}

/// What the devices of a cohort are told, and how the server treats them.
#[derive(Debug, Clone, PartialEq)]
pub struct CohortOrder {
    /// Whose.
    pub key: CohortKey,
    /// The pace; its generation is that of the last *change* of it, so that an order in force is not an old one.
    pub pace: Pace,
    /// After a silence longer than this a heartbeat is acked a second time, 2.1 s later, which lifts the binding out of
    /// the timeout for unreplied ones; `None` = never.
    pub second_ack_after: Option<Duration>,
    /// Silences of at least this are told as observations; shorter ones teach nothing more.
    pub tell_silences_from: Duration,
    /// A rollout judges the devices' beats: each is told, and so is a silence that is longer than this, the longest wait
    /// under the new interval, whichever interval the device has. Before a beat is due its device is sent something, so
    /// that the beat shows whether that passed. `None` = nothing of this.
    pub tell_beats: Option<Duration>,
}

/// Something for one device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceCommand {
    /// For whom.
    pub device: DeviceId,
    /// Its cohort.
    pub cohort: CohortIndex,
    /// What.
    pub order: DeviceOrder,
    /// It is shorter than what the device has, and a release was taken back: it is sent at once, unasked.
    pub is_urgent: bool,
}

/// Something for one device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DeviceOrder {
    /// A pace of its own from now on, in place of the cohort's.
    Own(Pace),
    /// The cohort's pace again.
    Cohort,
    /// Test these silences. It rides on the next ack; a later order takes the place of one that was not told yet.
    Probe {
        /// Which silences.
        order: ProbeOrder,
        /// Of which bindings.
        class: BindingClass,
    },
}

impl Orders {
    /// The cohort's order; that of unknown devices for an index that is not there yet.
    pub fn cohort(&self, index: CohortIndex) -> Option<&Arc<CohortOrder>> {
        self.decided(index).or_else(|| self.cohorts.first())
    }

    /// The cohort's own order; none where nothing is decided for it yet, as in the first second of a process. A device keeps
    /// what it has until then.
    pub fn decided(&self, index: CohortIndex) -> Option<&Arc<CohortOrder>> {
        self.cohorts.get(index.0 as usize)
    }
}
