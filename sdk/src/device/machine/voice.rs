//! The device's own number for each datagram, and how many it sends because the server says so.

use std::time::Duration;

use crate::device::id::DeviceId;
use crate::device::probe::ProbeReport;
use crate::device::wire::{Request, kind};

/// Datagrams at the server's word (hellos, answers to a new address, repeats with a nonce, the beginnings of probes) that
/// may be sent at once, before it is one in [`ALLOWED_EVERY`]. Bounds what a confused server, or a copy of what a sound
/// one said, can have a device send.
const ALLOWED: u32 = 8;
const ALLOWED_EVERY: Duration = Duration::from_secs(1);

/// Who speaks, and what was said so far.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    pub(super) device: DeviceId,
    pub(super) boot: u32,
    pub(super) sequence: u32,
    pub(super) generation: u64,
    key_id: u16,
    /// When the allowance is full again.
    full_at: Duration,
}

impl Voice {
    pub(super) fn new(device: DeviceId, key_id: u16, boot: u32) -> Self {
        Self { device, boot, sequence: 0, generation: 0, key_id, full_at: Duration::ZERO }
    }

    /// The next request of this type; (boot, sequence) is above all before.
    pub(super) fn request(&mut self, kind: u8, flags: u16) -> Request {
        if self.sequence == u32::MAX {
            (self.boot, self.sequence) = (self.boot.saturating_add(1), 0);
        }
        self.sequence += 1;
        let generation = if kind == kind::HELLO { 0 } else { self.generation };
        Request { kind, flags, generation, ..Request::heartbeat(self.key_id, self.device, self.boot, self.sequence) }
    }

    /// A datagram about a probe.
    pub(super) fn probe(&mut self, flags: u16, report: ProbeReport) -> Request {
        Request { report: report.to_bytes(), ..self.request(kind::PROBE, flags) }
    }

    /// Whether one more may be sent at the server's word; counts it.
    pub(super) fn is_allowed(&mut self, now: Duration) -> bool {
        let full_at = self.full_at.max(now) + ALLOWED_EVERY;
        let is_allowed = full_at <= now + ALLOWED_EVERY * ALLOWED;
        if is_allowed {
            self.full_at = full_at;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_even_past_the_last() {
        let mut voice = Voice::new(DeviceId([1; 16]), 1, 7);
        voice.sequence = u32::MAX - 1;
        let mut spoken = || (voice.request(kind::HEARTBEAT, 0), voice.boot);
        assert_eq!([spoken().0.sequence, spoken().0.sequence], [u32::MAX, 1]);
        assert_eq!(spoken().1, 8);
    }

    #[test]
    fn what_the_server_asks_for_is_bounded_to_a_burst_and_one_a_second() {
        let mut voice = Voice::new(DeviceId([1; 16]), 1, 1);
        let sent = (0..10_000).filter(|ms| voice.is_allowed(Duration::from_millis(*ms))).count();
        assert_eq!(sent, 8 + 9);
    }
}
