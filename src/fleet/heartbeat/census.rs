//! Where each device stands: what it was told with its last ack, and whether its beats keep to that.
//!
//! What is intended is what the device *knows*: an order that is in force here and has not ridden on an ack yet cannot be
//! kept to.

use std::time::Duration;

use super::shard::Shard;
use crate::fleet::registry::Slot;
use crate::fleet::registry::entry::Entry;
use crate::keepalive::alarm::GONE_AFTER;
use crate::keepalive::alarm::ratios::{Ratios, ratio};

/// The wire's unit of waits.
const UNIT: Duration = Duration::from_millis(100);

/// A gap of a device has ended; `is_own` = the device chose it: nothing is missing in it. `interval` is the shortest wait in
/// force, which the device may not know yet.
pub(super) fn gap_ended(entry: &mut Entry, gap: Duration, interval: Duration, is_own: bool) {
    let longest = UNIT * entry.told_units.into();
    let has_spoken = std::mem::take(&mut entry.has_spoken);
    if longest.is_zero() {
        return;
    }
    entry.late_16ths = (ratio(gap, longest) * 16.0) as u8;
    if is_own && !has_spoken {
        entry.off_pace.take(gap, [interval.min(longest), longest]);
    }
}

impl Shard {
    /// An ack is on its way: from now on the device knows its pace.
    pub(super) fn note_told(&mut self, slot: Slot) {
        let longest = self.pace(self.registry.get(slot)).longest();
        let units = longest.as_millis().div_ceil(UNIT.as_millis());
        self.registry.get_mut(slot).told_units = u16::try_from(units).unwrap_or(u16::MAX);
    }

    /// The longest wait that a device knows of.
    pub(super) fn intended(&self, entry: &Entry) -> Duration {
        match entry.told_units {
            0 | u16::MAX => self.pace(entry).longest(),
            units => UNIT * units.into(),
        }
    }

    /// Its last gap or the one that is open, whichever is worse, as a ratio to what was intended.
    pub(super) fn standing(&self, entry: &Entry, silence: Duration) -> f64 {
        ratio(silence, self.intended(entry)).max(f64::from(entry.late_16ths) / 16.0)
    }

    /// Counts a device in its cohort's census, until it is gone.
    pub(super) fn count(&self, entry: &Entry, silence: Duration, census: &mut Vec<Ratios>) {
        if silence >= GONE_AFTER {
            return;
        }
        let index = entry.cohort.0 as usize;
        census.resize(census.len().max(index + 1), Ratios::default());
        census[index].add(self.standing(entry, silence));
    }
}
