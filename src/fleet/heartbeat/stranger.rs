//! Devices that are not here. The first authentic heartbeat of one is answered as that of a known device from a new
//! address: nothing is remembered but, in a table that cannot grow, that it was asked. It is here when it has answered.

use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::wire::{Arrived, Request, kind, sent};
use std::sync::atomic::Ordering;

use super::counters::Count;
use super::pending::Beside;
use super::shard::{Shard, Speaker};
use crate::fleet::registry::Slot;
use crate::fleet::registry::entry::Entry;
use crate::fleet::registry::replay::Window;
use crate::keepalive::cohort::{CohortIndex, Labels};

impl Shard {
    /// An authentic datagram of a device that is not here.
    pub(super) fn stranger(&mut self, arrived: &Arrived<'_>, speaker: Speaker) -> Result<(), Count> {
        let Arrived::Request(head) = arrived else { return Err(Count::Unregistered) };
        if head.kind == kind::PROBE {
            return Err(Count::Unregistered);
        }
        if self.shared.devices.load(Ordering::Relaxed) >= self.devices_max {
            return Err(Count::TooManyDevices);
        }
        if head.kind == kind::ANSWER && head.flags & sent::NEW_ADDRESS != 0 && self.has_answered(head, &speaker) {
            return self.register(head, &speaker);
        }
        match self.pending.beside(&head.device, head.boot, head.sequence, self.now) {
            Beside::New => self.ask(head, &speaker, None),
            Beside::Same => return Err(Count::Copied),
            Beside::Older => return Err(Count::Replayed),
        }
        Ok(())
    }

    /// Whether it is the answer to what this address was asked, and newer than that.
    fn has_answered(&mut self, head: &Request, speaker: &Speaker) -> bool {
        let asked = self.pending.of(&head.device);
        let is_newer = asked.is_some_and(|asked| (head.boot, head.sequence) > (asked.boot, asked.sequence));
        is_newer && self.pending.answer(&head.device, &speaker.from, &head.cookie, self.now).is_some()
    }

    fn register(&mut self, head: &Request, speaker: &Speaker) -> Result<(), Count> {
        let is_taken = |n: usize| (n < self.devices_max).then_some(n + 1);
        let devices = &self.shared.devices;
        if devices.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_taken).is_err() {
            return Err(Count::TooManyDevices);
        }
        let slot = self.add(head, speaker);
        self.counts().add(Count::Registered, 1);
        self.counts().add(Count::Accepted, 1);
        let cohort = self.registry.get(slot).cohort;
        if self.order(cohort).is_some_and(|order| order.second_ack_after.is_some()) {
            self.schedule_second(slot, head);
        }
        self.tell_present(slot);
        self.ack(slot, head, speaker);
        Ok(())
    }

    fn add(&mut self, head: &Request, speaker: &Speaker) -> Slot {
        let cohort = self.cohort_of(Labels::new(), speaker);
        let window = Window::new(head.boot, head.sequence);
        let entry = Entry::new(head.device, head.key_id, window, speaker.from, self.now);
        self.registry.insert(Entry { key: Some(speaker.key), cohort, is_unheard: false, ..entry })
    }

    /// What a device is told before it is here.
    pub(super) fn first_pace(&self) -> Pace {
        let nobody = Entry::nobody(CohortIndex(0));
        self.pace(&nobody)
    }
}
