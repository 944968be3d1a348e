//! What a device is called by those who go and look for it: its labels `serial` and `firmware`. A device that is silent
//! cannot be asked for them, so they are kept when they are told. Bounded; after a restart a device is known by its id until
//! it says hello again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::fleet::registry::Slot;
use crate::keepalive::cohort::Labels;

/// Devices of one worker whose names are kept: some 100 bytes each.
const NAMES_MAX: usize = 1 << 18;
/// Versions that are kept once for all their devices.
const VERSIONS_MAX: usize = 1_024;

/// A device's labels for people.
#[derive(Debug, Clone, Default)]
pub(super) struct Name {
    pub(super) serial: Option<Arc<str>>,
    pub(super) firmware: Option<Arc<str>>,
}

/// Of one worker.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_slot: HashMap<Slot, Name>,
    versions: HashSet<Arc<str>>,
}

impl Names {
    /// A device told its labels.
    pub(super) fn take(&mut self, slot: Slot, labels: &Labels) {
        let (serial, firmware) = (labels.get("serial").cloned(), labels.get("firmware").cloned());
        if serial.is_none() && firmware.is_none() {
            self.by_slot.remove(&slot);
            return;
        }
        let firmware = firmware.map(|version| self.version(version));
        if self.by_slot.len() < NAMES_MAX || self.by_slot.contains_key(&slot) {
            self.by_slot.insert(slot, Name { serial, firmware });
        }
    }

    /// Its place is another's.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.by_slot.remove(&slot);
    }

    /// What is known.
    pub(super) fn of(&self, slot: Slot) -> Name {
        self.by_slot.get(&slot).cloned().unwrap_or_default()
    }

    fn version(&mut self, version: Arc<str>) -> Arc<str> {
        if let Some(known) = self.versions.get(&version) {
            return Arc::clone(known);
        }
        if self.versions.len() < VERSIONS_MAX {
            self.versions.insert(Arc::clone(&version));
        }
        version
    }
}
