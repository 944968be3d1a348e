//! Which device is to be looked at when: a clock's queue with one entry a device at most.

use std::collections::BTreeMap;

use super::devices::{Devices, Is, Slot};

/// Devices by the second they are due in. A device whose time was put off stays where it is and is put on when its turn
/// comes: nothing is ever searched for.
#[derive(Debug, Default)]
pub(super) struct Due {
    by_second: BTreeMap<u32, Vec<Slot>>,
}

impl Due {
    /// Has a device looked at in this second.
    pub(super) fn set(&mut self, devices: &mut Devices, slot: Slot, second: u32) {
        let device = devices.get_mut(slot);
        device.due = second;
        if !device.is.all(Is::TIMED) {
            device.is.set(Is::TIMED, true);
            self.by_second.entry(second).or_default().push(slot);
        }
    }

    /// The devices whose time has come.
    pub(super) fn take(&mut self, devices: &mut Devices, now: u32) -> Vec<Slot> {
        let mut taken = Vec::new();
        while let Some(entry) = self.by_second.first_entry().filter(|entry| *entry.key() <= now) {
            for slot in entry.remove() {
                let device = devices.get_mut(slot);
                device.is.set(Is::TIMED, false);
                let due = std::mem::take(&mut device.due);
                if due > now {
                    self.set(devices, slot, due);
                } else if due > 0 {
                    taken.push(slot);
                }
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use flyball_sdk::device::id::DeviceId;

    use super::*;
    use crate::keepalive::cohort::CohortIndex;

    #[test]
    fn a_device_comes_up_once_and_when_it_was_last_said() {
        let mut devices = Devices::new(4);
        let slots = [1, 2, 3].map(|n| devices.insert(DeviceId([n; 16]), CohortIndex(0), |_, _| ()).expect("room"));
        let mut due = Due::default();
        due.set(&mut devices, slots[0], 10);
        due.set(&mut devices, slots[1], 10);
        due.set(&mut devices, slots[1], 20);
        due.set(&mut devices, slots[2], 12);
        devices.get_mut(slots[2]).due = 0;
        assert_eq!(due.take(&mut devices, 9), []);
        assert_eq!(due.take(&mut devices, 15), [slots[0]]);
        assert_eq!(due.take(&mut devices, 20), [slots[1]]);
        assert!(due.by_second.is_empty());
    }
}
