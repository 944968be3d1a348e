//! One device against what its cohort offers: the pace it should have, and the test it should make. Reviewing a device
//! twice gives what reviewing it once does, so whoever suspects that something changed has it reviewed.

use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{Cell, ProbeOrder, SETTLE, TRIES, TRY_EVERY};

use super::cohort::Cohort;
use super::devices::{Device, Devices, Is, Slot};
use super::due::Due;
use crate::keepalive::interval;
use crate::keepalive::observation::BindingClass;
use crate::keepalive::order::{DeviceCommand, DeviceOrder};
use crate::time::Tick;

/// Commands of one decision at most; the others wait for the next one.
pub(super) const COMMANDS_MAX: usize = 10_000;
/// Packets that a device sends for a side flow: open, settle, three tests, a report and its retries.
pub(super) const FLOW_PACKETS: u16 = 8;
/// Time that an order and its report may take on the way, beyond the silence, in floors.
const SLACK_FLOORS: u32 = 6;
const UNIT: Duration = Duration::from_millis(100);

/// A decision in the making.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    /// All devices.
    pub(super) devices: &'a mut Devices,
    /// Which is due when.
    pub(super) due: &'a mut Due,
    /// For single devices.
    pub(super) commands: Vec<DeviceCommand>,
    /// Rounds that may still be planned.
    pub(super) plans: usize,
    /// Of what is told now.
    pub(super) generation: u64,
    /// Now.
    pub(super) now: Tick,
    /// Now, in seconds since the start.
    pub(super) second: u32,
}

impl Desk<'_> {
    /// Whether no more commands fit into this decision.
    pub(super) const fn is_full(&self) -> bool {
        self.commands.len() >= COMMANDS_MAX
    }

    /// Days since the start, modulo 256.
    pub(super) const fn day(&self) -> u8 {
        (self.second / 86_400) as u8
    }

    fn command(&mut self, cohort: &Cohort, slot: Slot, order: DeviceOrder, is_urgent: bool) {
        let device = self.devices.get(slot).id;
        self.commands.push(DeviceCommand { device, cohort: cohort.index, order, is_urgent });
    }
}

/// What is to be done about a device, if anything.
pub(super) fn review(cohort: &mut Cohort, slot: Slot, desk: &mut Desk<'_>) {
    let device = desk.devices.get_mut(slot);
    device.is.set(Is::TOUCHED, false);
    if device.cohort() != cohort.index {
        return;
    }
    if device.is.all(Is::PRESENT) {
        let target = target(cohort, device, desk.now);
        pace(cohort, slot, target, desk);
    }
    let device = desk.devices.get_mut(slot);
    cohort.count(device);
    let wants = device.is_free() && wanted(cohort, device, desk.now).is_some();
    if wants && !device.is.all(Is::QUEUED) {
        device.is.set(Is::QUEUED, true);
        cohort.waiting.push_back(slot);
    }
}

/// The interval that a device should have; `None` = the cohort's.
fn target(cohort: &Cohort, device: &Device, now: Tick) -> Option<Duration> {
    if cohort.planned().is_some() {
        return None;
    }
    let own = match (earned(cohort, device, now), &cohort.release) {
        (earned, None) => earned?,
        (earned, Some(release)) => earned.unwrap_or(release.wanted).min(release.most(device.id)),
    };
    let in_force = interval_of(cohort, device);
    if !cohort.fleet.is_longer_released && own > in_force {
        return (device.own != 0).then_some(in_force);
    }
    let common = cohort.told.order.pace.interval;
    let is_common = own >= common && !interval::is_worth_a_change(common, own);
    if is_common {
        // A device refuses an order that is older than its own: until the cohort's is renewed it keeps the same as its own.
        return (device.own != 0 && device.own_since >= cohort.told.second).then_some(common);
    }
    Some(if own > in_force && !interval::is_worth_a_change(in_force, own) { in_force } else { own })
}

/// The interval that the law would allow a device by what it showed itself; `None` = what it wants for the cohort.
fn earned(cohort: &Cohort, device: &Device, now: Tick) -> Option<Duration> {
    let bounds = &cohort.fleet.interval;
    if cohort.pin(now.wall).is_some() {
        return None;
    }
    match device.shown.supported(&cohort.offers) {
        Some(lifetime) => Some(interval::paced(bounds, lifetime.silence()).interval),
        None if device.shown.expired().is_some_and(|expired| is_too_long(cohort, expired)) => {
            Some(interval::floor(bounds))
        }
        None if device.is.all(Is::PROBING) && !cohort.is_trusted() => Some(interval::floor(bounds)),
        None => None,
    }
}

/// Whether the cohort's order lets a device wait longer than a silence that it did not survive.
fn is_too_long(cohort: &Cohort, expired: Cell) -> bool {
    expired.silence() <= cohort.told.order.pace.longest()
}

fn pace(cohort: &Cohort, slot: Slot, target: Option<Duration>, desk: &mut Desk<'_>) {
    let (second, generation) = (desk.second, desk.generation);
    let common = cohort.told.order.pace.interval;
    let device = desk.devices.get_mut(slot);
    let own = target.map_or(0, units);
    // An edge may have kept what an earlier process told: where that was taken back, it is to know.
    let has_some = own != 0 || device.is.all(Is::PACED) || cohort.release.is_some();
    let is_told_again = device.is.all(Is::RETURNED) && has_some;
    device.is.set(Is::RETURNED, false);
    if own == device.own && !is_told_again {
        return;
    }
    let is_urgent = cohort.release.is_some() && target.unwrap_or(common) < interval_of(cohort, device);
    device.is.set(Is::CONFIRMED, false);
    (device.own, device.own_since) = (own, second);
    let order = match target {
        Some(interval) => DeviceOrder::Own(interval::pace(&cohort.fleet.interval, interval, generation)),
        None => DeviceOrder::Cohort,
    };
    desk.command(cohort, slot, order, is_urgent);
}

/// The interval that a device has.
pub(super) fn interval_of(cohort: &Cohort, device: &Device) -> Duration {
    if device.own == 0 { cohort.told.order.pace.interval } else { UNIT * u32::from(device.own) }
}

fn units(interval: Duration) -> u16 {
    u16::try_from(interval.as_millis() / UNIT.as_millis()).unwrap_or(u16::MAX)
}

/// The test that a device should make for its own sake.
fn wanted(cohort: &Cohort, device: &Device, now: Tick) -> Option<ProbeOrder> {
    let flows = cohort.fleet.probes.flows;
    if flows == 0 || cohort.pin(now.wall).is_some() {
        return None;
    }
    device.shown.next_test(&cohort.offers, cohort.lowest(), flows)
}

/// Orders the tests of devices that wait for one, as many as may run at a time.
pub(super) fn serve(cohort: &mut Cohort, desk: &mut Desk<'_>) {
    let most = cohort.devices_at_a_time(cohort.fleet.probes.devices_learning);
    while cohort.counts.testing < most && !desk.is_full() {
        let Some(slot) = cohort.waiting.pop_front() else { return };
        let device = desk.devices.get_mut(slot);
        if device.cohort() != cohort.index || !device.is.all(Is::QUEUED) {
            continue;
        }
        device.is.set(Is::QUEUED, false);
        let order = device.is_free().then(|| wanted(cohort, desk.devices.get(slot), desk.now)).flatten();
        if let Some(order) = order {
            give(cohort, slot, order, cohort.paced_class(), desk);
        }
    }
}

/// Orders a test, if the device's allowance has it.
pub(super) fn give(
    cohort: &mut Cohort,
    slot: Slot,
    order: ProbeOrder,
    class: BindingClass,
    desk: &mut Desk<'_>,
) -> bool {
    let (day, second) = (desk.day(), desk.second);
    let device = desk.devices.get_mut(slot);
    if !device.spend(FLOW_PACKETS * u16::from(order.flows), cohort.fleet.probes.packets_per_day, day) {
        return false;
    }
    if device.testing == 0 {
        cohort.counts.testing += 1;
    }
    (device.testing, device.flows_open) = (order.to_bits(), order.flows);
    let longest = order.cell(u16::from(order.flows) - 1).silence();
    let wait = interval::longest(&cohort.fleet.interval, interval_of(cohort, device));
    let slack = interval::floor(&cohort.fleet.interval) * SLACK_FLOORS;
    let took = wait + SETTLE + longest + TRY_EVERY * u32::from(TRIES) + slack;
    let until = second.saturating_add(u32::try_from(took.as_secs()).unwrap_or(u32::MAX)).saturating_add(1);
    desk.due.set(desk.devices, slot, until);
    desk.command(cohort, slot, DeviceOrder::Probe { order, class }, false);
    true
}

impl Cohort {
    fn is_new(&self, device: DeviceId) -> bool {
        self.planned().is_some() || self.release.as_ref().is_some_and(|release| release.is_new(device))
    }

    /// Counts a device as what it is now.
    pub(super) fn count(&mut self, device: &mut Device) {
        let is_present = device.is.all(Is::PRESENT);
        let is_probing = is_present && device.is.all(Is::PROBING);
        let is_new = is_present && self.is_new(device.id);
        let now = [
            (Is::PRESENT, is_present),
            (Is::PROBING, is_probing),
            (Is::PROVEN, is_probing && self.is_proven(device)),
            (Is::LOWER, is_present && self.is_lower(device)),
            (Is::OWN, is_present && device.own != 0),
            (Is::SAME, is_present && device.own != 0 && interval_of(self, device) == self.told.order.pace.interval),
            (Is::NEW, is_new),
            (Is::ADOPTED, is_new && device.is.all(Is::CONFIRMED)),
        ];
        let before = self.counts;
        let counts = &mut self.counts;
        let fields = [
            &mut counts.present,
            &mut counts.probing,
            &mut counts.proven,
            &mut counts.lower,
            &mut counts.own,
            &mut counts.same,
            &mut counts.new,
            &mut counts.adopted,
        ];
        for ((statement, is_true), field) in now.into_iter().zip(fields) {
            match (device.counted.all(statement), is_true) {
                (false, true) => *field += 1,
                (true, false) => *field -= 1,
                _ => {}
            }
            device.counted.set(statement, is_true);
        }
        self.is_dirty |= before != self.counts;
    }

    /// A device tests no more.
    pub(super) fn end_test(&mut self, device: &mut Device) {
        if std::mem::take(&mut device.testing) != 0 {
            self.counts.testing -= 1;
        }
        (device.flows_open, device.due) = (0, 0);
    }
}
