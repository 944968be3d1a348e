//! A device as it is: the real machine, its power and its radio, and what its carrier's NAT knows of its flows.

use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::machine::{Bounds, Flow, INITIAL, Machine, Memory, Settings};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

use super::loss::Direction;
use super::nat::Binding;
use super::scenario::{Absences, FleetScenario, LossModel};
use crate::time::MonoTime;

/// One device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) machine: Machine,
    pub(super) carrier: u32,
    pub(super) nat: u32,
    pub(super) is_on: bool,
    pub(super) is_in_hole: bool,
    /// Of each flow, the main one first.
    pub(super) bindings: [Binding; Flow::COUNT],
    /// When the machine's timer runs out; what is due at another time is out of date.
    pub(super) wakes_at: MonoTime,
    /// Over restarts.
    pub(super) memory: Memory,
    ports: u32,
    up: Direction,
    down: Direction,
    /// What the way loses is drawn apart from what happens to the device, so that all laws meet the same.
    way: Pcg64Mcg,
    pub(super) fate: Pcg64Mcg,
}

impl Device {
    /// One that is off.
    pub(super) fn new(index: u32, carrier: u32, nat: u32, seed: u64, scenario: &FleetScenario) -> Self {
        let own = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(index) << 1;
        let device = DeviceId((u128::from(seed) << 64 | u128::from(index)).to_be_bytes());
        let (min, max) = scenario.bounds();
        let bounds = Bounds::new(min, max).unwrap_or_default();
        let settings = Settings { device, key_id: 0, initial: INITIAL, bounds, follows_up: scenario.are_following_up };
        Self {
            machine: Machine::new(settings, Memory::default(), Duration::ZERO),
            carrier,
            nat,
            is_on: false,
            is_in_hole: false,
            bindings: [Binding::none(0); Flow::COUNT],
            wakes_at: MonoTime::default(),
            memory: Memory::default(),
            ports: 0,
            up: Direction::default(),
            down: Direction::default(),
            way: Pcg64Mcg::seed_from_u64(own),
            fate: Pcg64Mcg::seed_from_u64(own ^ 1),
        }
    }

    pub(super) fn id(&self) -> DeviceId {
        self.machine.settings().device
    }

    pub(super) fn main(&self) -> &Binding {
        &self.bindings[Flow::MAIN.number()]
    }

    /// A packet leaves; whether it comes to the NAT.
    pub(super) fn sends(&mut self, loss: LossModel) -> bool {
        !self.is_in_hole && !self.up.loses(loss, &mut self.way)
    }

    /// A packet has passed the NAT; whether it comes to the device.
    pub(super) fn receives(&mut self, loss: LossModel) -> bool {
        self.is_on && !self.is_in_hole && !self.down.loses(loss, &mut self.way)
    }

    /// It starts, with what it remembers and a new main socket.
    pub(super) fn boots(&mut self, now: MonoTime) {
        self.is_on = true;
        self.memory = Memory::for_next_boot(Some(self.memory), 0);
        self.machine = Machine::new(*self.machine.settings(), self.memory, now.since(MonoTime::default()));
        self.opens(Flow::MAIN);
        self.wakes_at = now;
    }

    /// It is behind another NAT, which knows nothing of it.
    pub(super) fn moves(&mut self, carrier: u32, nat: u32) {
        (self.carrier, self.nat) = (carrier, nat);
        (0..Flow::COUNT).filter_map(Flow::numbered).for_each(|flow| self.opens(flow));
    }

    /// A new socket: its binding is none yet.
    pub(super) fn opens(&mut self, flow: Flow) {
        self.ports += 1 << 8;
        self.bindings[flow.number()] = Binding::none(self.ports);
    }

    /// From one absence to the next, and how long it lasts.
    pub(super) fn next_absence(&mut self, absences: &Absences) -> (Duration, Duration) {
        let gap: f64 = Exp1.sample(&mut self.fate);
        let part = self.fate.random::<f64>();
        (absences.every.mul_f64(gap), absences.min + (absences.max - absences.min).mul_f64(part))
    }
}
