//! A device as it is: its power and its radio, its binding, the pace that it was told, and what it waits for.

use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

use super::loss::Direction;
use super::nat::Binding;
use super::scenario::{Absences, LossModel};
use crate::time::MonoTime;

/// What a device beats at before it is told anything.
const UNTOLD: Pace =
    Pace { generation: 0, interval: Duration::from_secs(15), jitter: 64, retry: 0, is_hostile: false };

/// One device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) carrier: u32,
    pub(super) nat: u32,
    pub(super) is_on: bool,
    pub(super) is_in_hole: bool,
    /// Of the flow that carries messages.
    pub(super) main: Binding,
    pub(super) pace: Pace,
    pub(super) boot: u32,
    /// Of its newest datagram.
    pub(super) sequence: u32,
    /// Sendings of the beat that is not acked yet.
    pub(super) tries: u32,
    /// When it beats next; what is due at another time is out of date.
    pub(super) beat_at: MonoTime,
    /// Side flows that are open.
    pub(super) flows: u8,
    up: Direction,
    down: Direction,
    /// What the way loses is drawn apart from what happens to the device, so that all laws meet the same.
    way: Pcg64Mcg,
    pub(super) fate: Pcg64Mcg,
}

impl Device {
    pub(super) fn new(index: u32, carrier: u32, nat: u32, seed: u64) -> Self {
        let own = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(index) << 1;
        Self {
            id: DeviceId((u128::from(seed) << 64 | u128::from(index)).to_be_bytes()),
            carrier,
            nat,
            is_on: false,
            is_in_hole: false,
            main: Binding::none(0),
            pace: UNTOLD,
            boot: 0,
            sequence: 0,
            tries: 0,
            beat_at: MonoTime::default(),
            flows: 0,
            up: Direction::default(),
            down: Direction::default(),
            way: Pcg64Mcg::seed_from_u64(own),
            fate: Pcg64Mcg::seed_from_u64(own ^ 1),
        }
    }

    /// A packet leaves; whether it comes to the NAT.
    pub(super) fn sends(&mut self, loss: LossModel) -> bool {
        self.sequence += 1;
        !self.is_in_hole && !self.up.loses(loss, &mut self.way)
    }

    /// A packet has passed the NAT; whether it comes to the device.
    pub(super) fn receives(&mut self, loss: LossModel) -> bool {
        self.is_on && !self.is_in_hole && !self.down.loses(loss, &mut self.way)
    }

    /// It starts: another boot, another socket, a binding that is none yet.
    pub(super) fn boots(&mut self) {
        self.is_on = true;
        self.boot += 1;
        (self.sequence, self.tries, self.flows) = (0, 0, 0);
        self.main = Binding::none(self.main.port.wrapping_add(1));
    }

    /// An order; an older one is ignored. Told in units of 100 ms, rounded down.
    pub(super) fn told(&mut self, pace: Pace) {
        if pace.generation >= self.pace.generation {
            let tenths = pace.interval.as_millis() / 100;
            self.pace = Pace { interval: Duration::from_millis(tenths as u64 * 100), ..pace };
        }
    }

    /// From one absence to the next, and how long it lasts.
    pub(super) fn next_absence(&mut self, absences: &Absences) -> (Duration, Duration) {
        let gap: f64 = Exp1.sample(&mut self.fate);
        let part = self.fate.random::<f64>();
        (absences.every.mul_f64(gap), absences.min + (absences.max - absences.min).mul_f64(part))
    }
}
