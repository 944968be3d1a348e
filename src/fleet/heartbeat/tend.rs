//! What a worker does between two batches: second acks that are due, devices that are gone, flows that are over.

use std::sync::atomic::Ordering;
use std::time::Duration;

use flyball_sdk::device::jitter::FAST_RETRIES;
use flyball_sdk::device::wire::{Ack, Answer, kind, told};

use super::counters::Count;
use super::shard::Shard;
use crate::fleet::registry::entry::{Entry, Stamp};
use crate::fleet::registry::{FORGET_AFTER, Slot};
use crate::keepalive::alarm::ratios::Ratios;
use crate::keepalive::observation::ObservationKind;

/// A part of the devices is looked at each time; all of them once in this many times.
const SWEEP_PARTS: u32 = 50;
/// And at least this many, so that a small fleet is looked at each time.
const SWEEP_MIN: u32 = 2_048;
/// A sweep takes no longer, unless the process slept.
const PERIOD_MAX: Duration = Duration::from_secs(30);
/// Beyond all its retries: what the network and a busy device take.
const ABSENT_MARGIN: Duration = Duration::from_secs(2);

/// Where the next sweep begins.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    next: Slot,
    by_cohort: Vec<u32>,
    /// When it began, and how long the last one took, so that each device is looked at as often.
    began: Stamp,
    period: Duration,
    census: Vec<Ratios>,
}

impl Shard {
    /// Sends second acks that are due, at most as many as the outgoing batch has room for; whether there are more.
    pub(super) fn send_seconds(&mut self, max: usize) -> bool {
        while self.out.len() < max {
            let Some(second) = self.seconds.next(self.now) else { return false };
            let entry = self.registry.get(second.slot);
            let key = entry.key.filter(|_| !entry.is_vacant && entry.window.boot() == second.boot);
            let Some(key) = key.filter(|_| entry.window.highest() >= second.sequence) else { continue };
            let (pace, address) = (self.pace(entry), entry.address);
            let ack = Ack { kind: kind::ACK, flags: told::SECOND, sequence: second.sequence, pace, probe: 0 };
            let bytes = Answer::Ack(ack).sealed(&key, entry.key_id, entry.device, second.boot);
            self.out.push((address, bytes));
            self.registry.get_mut(second.slot).either = self.now;
            self.counts().add(Count::SecondAcked, 1);
        }
        true
    }

    /// Looks at the next part of the devices.
    pub(super) fn sweep(&mut self, sweep: &mut Sweep) {
        if sweep.next == 0 {
            (sweep.began, sweep.period) = (self.now, self.now.since(sweep.began).min(PERIOD_MAX));
        }
        let places = self.registry.places() as Slot;
        let end = places.min(sweep.next + SWEEP_MIN.max(places / SWEEP_PARTS));
        for slot in sweep.next..end {
            self.look_at(slot, sweep);
        }
        sweep.next = end;
        if end == places {
            sweep.next = 0;
            self.flows.sweep(self.now);
            let counted = std::mem::take(&mut sweep.by_cohort);
            self.counts().set_by_cohort(counted);
            self.counts().set_census(std::mem::take(&mut sweep.census));
        }
    }

    fn look_at(&mut self, slot: Slot, sweep: &mut Sweep) {
        let entry = self.registry.get(slot);
        if entry.is_vacant {
            return;
        }
        let silence = self.now.since(entry.heard);
        let (device, cohort) = (entry.device, entry.cohort);
        self.look_for_beats(slot, silence, sweep.period);
        let entry = self.registry.get(slot);
        self.count(entry, silence, &mut sweep.census);
        if entry.is_present && silence > self.patience(entry) {
            self.registry.get_mut(slot).is_present = false;
            self.tell(cohort, ObservationKind::Absent { device });
        } else if silence > FORGET_AFTER {
            self.registry.remove(slot);
            self.names.forget(slot);
            self.shared.devices.fetch_sub(1, Ordering::Relaxed);
        } else if entry.is_present {
            let index = cohort.0 as usize;
            sweep.by_cohort.resize(sweep.by_cohort.len().max(index + 1), 0);
            sweep.by_cohort[index] += 1;
        }
    }

    /// How long a device may be silent and still be here.
    fn patience(&self, entry: &Entry) -> Duration {
        let pace = self.pace(entry);
        pace.longest() + pace.retry_wait(1) * FAST_RETRIES + ABSENT_MARGIN
    }

    /// Counts what a batch could not do.
    pub(super) fn count_failed(&self, failed: usize) {
        if failed > 0 {
            self.counts().add(Count::SendFailed, failed as u64);
        }
    }

    /// Now, as of this batch.
    pub(super) const fn now(&self) -> Stamp {
        self.now
    }
}
