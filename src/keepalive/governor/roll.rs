//! Who is there, and in which cohort.

use flyball_sdk::device::id::DeviceId;

use super::Governor;
use super::cohort::Cohort;
use super::devices::{Device, Devices, Is, Slot};

impl Governor {
    /// Does something with a device and its cohort, and has it reviewed. A device of which it was not told that it is
    /// there, is there.
    pub(super) fn with(&mut self, at: usize, id: DeviceId, act: impl FnOnce(&mut Cohort, &mut Device)) {
        let Some(slot) = self.settled(at, id) else { return };
        let device = self.devices.get_mut(slot);
        device.is.set(Is::PRESENT, true);
        act(&mut self.cohorts[at], device);
        touch(&mut self.touched, device, slot);
    }

    pub(super) fn arrive(&mut self, at: usize, id: DeviceId, (can_probe, has_own): (bool, bool)) {
        let Some(slot) = self.settled(at, id) else { return };
        let device = self.devices.get_mut(slot);
        device.is.set(Is::PRESENT, true);
        device.is.set(Is::PROBING, can_probe);
        device.is.set(Is::RETURNED, true);
        device.is.set(Is::PACED, has_own);
        device.silent_tests = 0;
        self.cohorts[at].end_test(device);
        touch(&mut self.touched, device, slot);
    }

    pub(super) fn leave(&mut self, id: DeviceId) {
        let Some(slot) = self.devices.find(id) else { return };
        self.devices.leave(slot);
        let device = self.devices.get_mut(slot);
        let cohort = &mut self.cohorts[device.cohort().0 as usize];
        cohort.end_test(device);
        cohort.count(device);
    }

    /// The device's slot in this cohort; `None` where there is no room for it.
    pub(super) fn settled(&mut self, at: usize, id: DeviceId) -> Option<Slot> {
        let index = self.cohorts[at].index;
        let cohorts = &mut self.cohorts;
        let Some(slot) = self.devices.find(id) else {
            let part = |devices: &mut Devices, slot: Slot| drop_out(cohorts, devices, slot);
            let slot = self.devices.insert(id, index, part)?;
            if let Some(shown) = self.worse_off.remove(&id) {
                self.devices.get_mut(slot).shown = shown;
            }
            self.cohorts[at].join(&mut self.devices, slot);
            return Some(slot);
        };
        if self.devices.get(slot).cohort() != index {
            drop_out(cohorts, &mut self.devices, slot);
            self.devices.move_to(slot, index);
            self.cohorts[at].join(&mut self.devices, slot);
        }
        Some(slot)
    }
}

/// Takes a device out of its cohort.
fn drop_out(cohorts: &mut [Cohort], devices: &mut Devices, slot: Slot) {
    let device = devices.get_mut(slot);
    let cohort = &mut cohorts[device.cohort().0 as usize];
    cohort.end_test(device);
    let was_present = device.is.all(Is::PRESENT);
    device.is.set(Is::PRESENT, false);
    cohort.count(device);
    device.is.set(Is::PRESENT, was_present);
    cohort.part(devices, slot);
}

pub(super) fn touch(touched: &mut Vec<Slot>, device: &mut Device, slot: Slot) {
    if !device.is.all(Is::TOUCHED) {
        device.is.set(Is::TOUCHED, true);
        touched.push(slot);
    }
}
