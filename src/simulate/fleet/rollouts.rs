//! What became of rollouts, and how soon devices had the old interval again after one was taken back.

use std::collections::HashMap;
use std::time::Duration;

use super::device::Device;
use super::resumed::Resumed;
use crate::keepalive::cohort::CohortEntry;
use crate::keepalive::wave::audit::{Event, What};
use crate::time::MonoTime;

/// Of a whole run.
#[derive(Debug, Default)]
pub(super) struct Rollouts {
    pub(super) rollbacks: u32,
    pub(super) released: u32,
    pub(super) wave_at_stop: usize,
    /// Commands that no rollout obeyed.
    pub(super) refused: u32,
    pub(super) resumed: Resumed,
    /// That have too long an interval since a rollback, and which one is not.
    waiting: HashMap<u32, (MonoTime, Duration)>,
    took: Vec<f64>,
}

impl Rollouts {
    pub(super) fn happened(&mut self, now: MonoTime, event: &Event, cohorts: &[CohortEntry], devices: &[Device]) {
        self.resumed.happened(event);
        match event.what {
            What::Released => self.released += 1,
            What::RolledBack => {
                self.rollbacks += 1;
                self.wave_at_stop = event.wave;
                self.taken_back(now, event, cohorts, devices);
            }
            What::WaveBegan | What::Held | What::Paused | What::Resumed => {}
        }
    }

    fn taken_back(&mut self, now: MonoTime, event: &Event, cohorts: &[CohortEntry], devices: &[Device]) {
        let from = event.from;
        let theirs = of_cohort(&event.cohort, cohorts, devices);
        let treated = theirs.filter(|(_, device)| device.machine.pace().interval > from);
        self.waiting.extend(treated.map(|(index, _)| (index, (now, from))));
    }

    /// A device was told something.
    pub(super) fn told(&mut self, now: MonoTime, index: u32, device: &Device) {
        self.resumed.told(index, device.machine.pace().interval);
        let is_back = |(_, from): &(MonoTime, Duration)| device.machine.pace().interval <= *from;
        if self.waiting.get(&index).is_some_and(is_back)
            && let Some((since, _)) = self.waiting.remove(&index)
        {
            self.took.push(now.since(since).as_secs_f64());
        }
    }

    /// Seconds of each device.
    pub(super) fn took(&self, end: MonoTime) -> Vec<f64> {
        let open = self.waiting.values().map(|(since, _)| end.since(*since).as_secs_f64());
        self.took.iter().copied().chain(open).collect()
    }
}

/// Devices of a cohort that are on.
pub(super) fn of_cohort<'a>(
    name: &str,
    cohorts: &[CohortEntry],
    devices: &'a [Device],
) -> impl Iterator<Item = (u32, &'a Device)> {
    let is_of_it: Vec<bool> = cohorts.iter().skip(1).map(|cohort| *cohort.key.name == *name).collect();
    (0..).zip(devices).filter(move |(_, device)| device.is_on && is_of_it[device.carrier as usize])
}
