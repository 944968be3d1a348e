//! What is kept of a device: three cache lines, because a fleet is touched in random order and each line is a miss.

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::key::MacKey;
use flyball_sdk::device::probe::ProbeOrder;
use std::time::Duration;

use super::replay::Window;
use crate::fleet::heartbeat::address::Address;
use crate::keepalive::alarm::health::OffPace;
use crate::keepalive::cohort::CohortIndex;
use crate::keepalive::observation::BindingClass;
use crate::time::MonoTime;

/// Milliseconds of the process's monotonic clock, in 32 bits: they come round after 49.7 days, and nothing is compared
/// with what is older than [`FORGET_AFTER`](crate::fleet::registry::FORGET_AFTER).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp(u32);

impl Stamp {
    /// Now.
    pub fn of(now: MonoTime) -> Self {
        Self(now.since(MonoTime::default()).as_millis() as u32)
    }

    /// Since then; zero for what is later.
    pub fn since(self, earlier: Self) -> Duration {
        let ms = self.0.wrapping_sub(earlier.0);
        Duration::from_millis(if ms > u32::MAX - (1 << 16) { 0 } else { u64::from(ms) })
    }

    /// This much later.
    pub const fn plus_ms(self, ms: u32) -> Self {
        Self(self.0.wrapping_add(ms))
    }
}

/// A pace of a device's own, in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnPace {
    generation: u64,
    interval_ms: u32,
    jitter: u8,
    retry: u8,
    is_hostile: bool,
}

impl From<Pace> for OwnPace {
    fn from(pace: Pace) -> Self {
        let interval_ms = u32::try_from(pace.interval.as_millis()).unwrap_or(u32::MAX);
        let Pace { generation, jitter, retry, is_hostile, .. } = pace;
        Self { generation, interval_ms, jitter, retry, is_hostile }
    }
}

impl From<OwnPace> for Pace {
    fn from(own: OwnPace) -> Self {
        let OwnPace { generation, interval_ms, jitter, retry, is_hostile } = own;
        Self { generation, interval: Duration::from_millis(interval_ms.into()), jitter, retry, is_hostile }
    }
}

/// How far a test that was ordered has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered {
    /// It waits for an ack to ride on.
    Waiting,
    /// It rode on the ack of the highest number: if that is asked for again, it is told again.
    JustTold,
    /// The device knows it, and may open its flows.
    Told,
}

/// A test that a device was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderedProbe {
    /// What.
    pub order: ProbeOrder,
    /// Of which bindings.
    pub class: BindingClass,
    /// How far.
    pub state: Ordered,
}

const _: () = assert!(size_of::<Entry>() == 192, "an entry is three cache lines");

/// One device.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub struct Entry {
    /// Who.
    pub device: DeviceId,
    /// What came of it.
    pub window: Window,
    /// Where it answered from: nothing that it has not asked for goes anywhere else.
    pub address: Address,
    /// The master key that `key` is derived from.
    pub key_id: u16,
    /// Of the last heartbeat.
    pub heard: Stamp,
    /// Of the last packet either way on the flow that carries messages.
    pub either: Stamp,
    /// The time between the last two heartbeats, in milliseconds.
    pub gap_ms: u32,
    /// The longest wait that its last ack told it, in the wire's units of 100 ms; 0 where none is known.
    pub told_units: u16,
    /// The last gap to what was intended for it, in 16ths.
    pub late_16ths: u8,
    /// Whether its own beats keep to what it is told.
    pub off_pace: OffPace,
    /// It said hello since its last beat: the gap that is open is none between two beats.
    pub has_spoken: bool,
    /// Times that it came from another address.
    pub moves: u8,
    /// Its cohort.
    pub cohort: CohortIndex,
    /// Derived when it is needed first.
    pub key: Option<MacKey>,
    /// A fingerprint of the address before this one.
    pub came_from: u64,
    /// In place of the cohort's.
    pub own: Option<OwnPace>,
    /// Orders are told with this generation at least: the device follows one that is newer than its cohort's.
    pub generation_floor: u64,
    /// The last test that was ordered.
    pub probe: Option<OrderedProbe>,
    /// When it last said hello.
    pub hello_epoch: u32,
    /// The loop was told that it is here.
    pub is_present: bool,
    /// Read from a file, and not heard since: how long it was silent is not known.
    pub is_unheard: bool,
    /// Read from a file that may be older than the last the process did: its address must answer once more.
    pub is_unproven: bool,
    /// It was sent its order unasked since it beat last: whether that passed, its next beat shows.
    pub is_sounded: bool,
    /// Nobody is here: the place is free.
    pub is_vacant: bool,
}

impl Entry {
    /// A device that registers.
    pub fn new(device: DeviceId, key_id: u16, window: Window, address: Address, now: Stamp) -> Self {
        Self {
            device,
            window,
            address,
            key_id,
            heard: now,
            either: now,
            gap_ms: 0,
            told_units: 0,
            late_16ths: 0,
            off_pace: OffPace::default(),
            has_spoken: false,
            moves: 0,
            cohort: CohortIndex(0),
            key: None,
            came_from: 0,
            own: None,
            generation_floor: 0,
            probe: None,
            hello_epoch: 0,
            is_present: false,
            is_unheard: true,
            is_unproven: false,
            is_sounded: false,
            is_vacant: false,
        }
    }

    /// A device that is not here, of this cohort.
    pub fn nobody(cohort: CohortIndex) -> Self {
        let nobody = Self::new(DeviceId([0; 16]), 0, Window::new(0, 0), Address::default(), Stamp::default());
        Self { cohort, ..nobody }
    }

    /// Whether a datagram from there is from where the device answered.
    pub fn is_at(&self, from: &Address) -> bool {
        self.address == *from && !self.is_unproven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_come_round() {
        let early = Stamp(u32::MAX - 999);
        assert_eq!(early.plus_ms(3_000).since(early), Duration::from_secs(3));
        assert_eq!(early.since(early.plus_ms(5)), Duration::ZERO);
    }

    #[test]
    fn a_pace_of_its_own_survives() {
        let pace =
            Pace { generation: 9, interval: Duration::from_millis(84_200), jitter: 64, retry: 12, is_hostile: true };
        assert_eq!(Pace::from(OwnPace::from(pace)), pace);
    }
}
