//! One decision: changes are acted on, then cohorts are decided about, then devices, as many as one decision may.

use super::cohort::Cohort;
use super::review::{self, Desk};
use super::roll::touch;
use super::{Governor, balancer, rounds};
use crate::keepalive::change::Change;
use crate::keepalive::order::DeviceCommand;
use crate::time::Tick;

/// Members looked at in one decision because their cohort's offers or order changed.
const SWEEP_MAX: usize = 50_000;
/// Devices looked at in one decision because something was seen of them; the others wait for the next one.
const TOUCHED_MAX: usize = 50_000;
/// Rounds of tests planned in one decision: each takes some milliseconds, and only where all cohorts are new at once does
/// one have to wait for its turn.
const PLANS_MAX: usize = 8;

impl Governor {
    pub(super) fn decide_cohorts(&mut self, now: Tick, second: u32, generation: u64) -> bool {
        let (mut is_changed, mut is_refreshed) = (false, false);
        for at in 0..self.cohorts.len() {
            self.act_on_change(at);
            let cohort = &mut self.cohorts[at];
            // Pins end by the clock alone.
            if std::mem::take(&mut cohort.is_dirty) || !cohort.fleet.pins.is_empty() {
                is_changed |= cohort.decide(now, second, generation);
                is_refreshed = true;
            }
        }
        if is_refreshed {
            self.is_one_value = balancer::is_suspect(&self.cohorts);
        }
        is_changed
    }

    pub(super) fn decide_devices(&mut self, now: Tick, second: u32, generation: u64) -> Vec<DeviceCommand> {
        let (devices, due) = (&mut self.devices, &mut self.due);
        let mut desk = Desk { devices, due, commands: Vec::new(), plans: PLANS_MAX, generation, now, second };
        let later = self.touched.split_off(self.touched.len().min(TOUCHED_MAX));
        for slot in std::mem::replace(&mut self.touched, later) {
            let at = desk.devices.get(slot).cohort().0 as usize;
            review::review(&mut self.cohorts[at], slot, &mut desk);
        }
        let count = self.cohorts.len();
        let mut looks = SWEEP_MAX;
        // From another cohort each time, so that none waits for the others' sweeps.
        for turn in 0..count {
            let at = (self.next_swept + turn) % count;
            sweep(&mut self.cohorts[at], &mut looks, &mut desk);
            rounds::step(&mut self.cohorts, at, &mut desk);
            review::serve(&mut self.cohorts[at], &mut desk);
        }
        self.next_swept = (self.next_swept + PLANS_MAX) % count.max(1);
        desk.commands
    }

    /// A change makes what was learnt before it worthless: the floor, and from the start. A longer lifetime leaves what
    /// is in force as safe as it was.
    pub(super) fn act_on_change(&mut self, at: usize) {
        let cohort = &mut self.cohorts[at];
        let Some(change) = cohort.change.take() else { return };
        cohort.forget(cohort.paced_class());
        if change == Change::Shorter {
            cohort.offers.clear();
            cohort.is_remembered = false;
        }
        for slot in &cohort.members {
            let device = self.devices.get_mut(*slot);
            if change == Change::Shorter { device.begin_anew() } else { device.shown.forget_expiry() }
        }
        cohort.look_at_all();
    }

    pub(super) fn end_silent_tests(&mut self, second: u32) {
        for slot in self.due.take(&mut self.devices, second) {
            let device = self.devices.get_mut(slot);
            if device.testing != 0 {
                device.test_was_silent();
                self.cohorts[device.cohort().0 as usize].end_test(device);
                touch(&mut self.touched, device, slot);
            }
        }
    }
}

/// Looks at members that have not been looked at since something changed for all of them.
fn sweep(cohort: &mut Cohort, looks: &mut usize, desk: &mut Desk<'_>) {
    let was_sweeping = cohort.sweep > 0;
    while cohort.sweep > 0 && *looks > 0 && !desk.is_full() {
        cohort.sweep -= 1;
        *looks -= 1;
        let slot = cohort.members[cohort.sweep];
        review::review(cohort, slot, desk);
    }
    // What was counted may allow a longer order.
    cohort.is_dirty |= was_sweeping && cohort.sweep == 0;
}
