//! Tests that are made for the cohort's sake: rounds while it is learnt, a watch afterwards.

use std::collections::HashSet;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{Cell, ProbeOrder, SETTLE};

use super::cohort::{Cohort, place};
use super::devices::{Device, Devices, Is, Slot};
use super::neighbours;
use super::review::{Desk, FLOW_PACKETS, give, interval_of};
use crate::keepalive::interval;
use crate::keepalive::observation::BindingClass;

/// Devices that look for a single box together: more would not learn it in fewer rounds.
const SEARCHERS: usize = 8;
/// The same for bindings that no pace depends on: nobody waits for what they find, so that few take fewer tests.
const SEARCHERS_UNPACED: usize = 2;
/// Devices that are asked at a time whether it is one.
const CONFIRMERS: usize = 64;
/// Members that are looked at for one that is free, for each that is needed.
const SCAN_PER_DEVICE: usize = 64;
/// A test of the watch costs about this many packets,
const WATCH_PACKETS: f64 = 5.0;
/// and at most this part of what the cohort's heartbeats do. A carrier that halves its timeout behind a NAT that keeps
/// ports is seen by the watch alone: 100 devices make a test every four minutes.
const WATCH_SHARE: f64 = 0.015;
/// Of what heartbeats of so many floors would do, where they are rarer: who waits for minutes loses the more by a change.
const WATCH_FLOORS: u32 = 4;
/// Every so often the watch looks for a longer lifetime instead.
const LONGER_EVERY: u32 = 6;
/// Steps from the lifetime to the longer one that is looked for, in turn: 90 % and 38 % longer.
const LONGER_STEPS: [u8; 2] = [7, 6];
/// A search that nobody can be asked for is taken up again after so many floors: a quarter of an hour.
const REST_FLOORS: u32 = 60;
/// Devices that are asked at once when one contradicts what it showed before.
const WITNESSES: u32 = 8;

/// Tests under way for the cohort's sake.
#[derive(Debug, Default)]
pub(super) struct Round {
    running: Vec<(Slot, u16)>,
    class: Option<BindingClass>,
    /// The second in which its silences begin, about.
    began: u32,
    cursor: usize,
    /// Not before this second.
    not_before: u32,
    watched: u32,
    witnesses: u32,
}

impl Round {
    /// Has other devices asked whether they see a change, too.
    pub(super) const fn call_witnesses(&mut self) {
        self.witnesses = WITNESSES;
    }
}

/// Orders what is to be tested next, if it is time for that.
pub(super) fn step(cohorts: &mut [Cohort], at: usize, desk: &mut Desk<'_>) {
    let cohort = &mut cohorts[at];
    let is_off = cohort.fleet.probes.flows == 0 || cohort.pin(desk.now.wall).is_some();
    if is_off || cohort.counts.probing == 0 || desk.is_full() {
        return;
    }
    call(cohort, desk);
    if desk.second < cohort.round.not_before || !is_over(cohort, desk) {
        return;
    }
    match class_to_learn(cohort) {
        Some(_) if desk.plans == 0 => {}
        Some(class) => {
            let is_beginning = cohort.of(class).lowest().is_searching();
            if let Some(prior) = is_beginning.then(|| neighbours::prior(cohorts, at, class)).flatten() {
                cohorts[at].of(class).lowest_mut().hear(prior);
            }
            learn(&mut cohorts[at], class, desk);
        }
        None => watch(cohort, desk),
    }
}

/// The class that the pace is made for first.
fn class_to_learn(cohort: &mut Cohort) -> Option<BindingClass> {
    let first = cohort.paced_class();
    let classes = [first, if first == BindingClass::Stream { BindingClass::Unreplied } else { BindingClass::Stream }];
    let count = if cohort.has_unreplied() { 2 } else { 1 };
    classes.into_iter().take(count).find(|class| cohort.of(*class).open().is_some())
}

/// Whether no test of the round is running any more that is worth waiting for. The devices of those that are not are
/// free: a new order takes the place of one that runs.
fn is_over(cohort: &mut Cohort, desk: &mut Desk<'_>) -> bool {
    let devices = &mut *desk.devices;
    let is_running =
        |device: &Device, bits| device.cohort() == cohort.index && device.testing == bits && device.flows_open > 0;
    let mut running = std::mem::take(&mut cohort.round.running);
    running.retain(|(slot, bits)| is_running(devices.get(*slot), *bits));
    let open: Vec<Cell> = running.iter().flat_map(|(slot, bits)| open_cells(devices.get(*slot), *bits)).collect();
    let waited = Duration::from_secs(desk.second.saturating_sub(cohort.round.began).into());
    let class = cohort.round.class.filter(|_| !open.is_empty());
    if class.is_some_and(|class| cohort.boxes[place(class)].is_worth_waiting(&open, waited)) {
        cohort.round.running = running;
        return false;
    }
    for (slot, _) in running {
        cohort.end_test(devices.get_mut(slot));
    }
    true
}

/// The silences of an order that have not ended: the shortest end first.
fn open_cells(device: &Device, bits: u16) -> impl Iterator<Item = Cell> {
    let order = ProbeOrder::from_bits(bits);
    let ended = order.map_or(0, |order| order.flows.saturating_sub(device.flows_open));
    order.into_iter().flat_map(ProbeOrder::cells).skip(ended.into())
}

fn learn(cohort: &mut Cohort, class: BindingClass, desk: &mut Desk<'_>) {
    cohort.round.not_before = desk.second + interval::floor(&cohort.fleet.interval).as_secs() as u32 / 4;
    let is_paced = class == cohort.paced_class();
    let most = cohort.devices_at_a_time(cohort.fleet.probes.devices_learning) as usize;
    let flows = cohort.fleet.probes.flows;
    let Some((learning, beyond)) = cohort.of(class).open() else { return };
    let is_searching = learning.is_searching();
    if !is_paced && !is_searching {
        // A second ack too many costs a packet: the class that paces nothing need not be known of every device.
        learning.settle_for_this();
        cohort.is_dirty = true;
        return;
    }
    let count = most.min(match (is_searching, is_paced) {
        (true, true) => SEARCHERS,
        (true, false) => SEARCHERS_UNPACED,
        (false, _) => CONFIRMERS,
    });
    let known: HashSet<DeviceId> = learning.brackets().iter().map(|bracket| bracket.device).collect();
    let day = desk.day();
    let (packets, allowance) = (FLOW_PACKETS * u16::from(flows), cohort.fleet.probes.packets_per_day);
    let may_be_asked = |device: &Device| device.has_left(packets, allowance, day);
    let is_of_layer = |device: &Device| beyond.number() == 0 || device.shown.survived() >= Some(beyond);
    let is_new = |device: &Device| is_searching || !known.contains(&device.id);
    let is_wanted = |device: &Device| is_of_layer(device) && is_new(device) && may_be_asked(device);
    let free = pick(cohort, desk.devices, count, is_wanted);
    let is_known_free = |id: &DeviceId| {
        let slot = desk.devices.find(*id).filter(|slot| is_free(cohort, desk.devices, *slot));
        slot.is_some_and(|slot| may_be_asked(desk.devices.get(slot)))
    };
    // A plan costs far more than to see that there is nobody to carry it out.
    if free.is_empty() && (is_searching || !known.iter().any(is_known_free)) {
        rest_or_settle(cohort, class, desk.second);
        return;
    }
    desk.plans -= 1;
    if carry_out(cohort, class, (count, flows), free, desk) == 0 {
        rest_or_settle(cohort, class, desk.second);
    }
}

/// Plans a round and orders it; how many devices were given a test.
fn carry_out(
    cohort: &mut Cohort,
    class: BindingClass,
    (count, flows): (usize, u8),
    mut free: Vec<Slot>,
    desk: &mut Desk<'_>,
) -> usize {
    cohort.is_dirty = true;
    let offers = cohort.offers.clone();
    let Some((learning, _)) = cohort.of(class).open() else { return 0 };
    let planned = learning.plan(count, flows, &offers);
    let mut given = 0;
    for test in planned {
        let known = test.who.map(|id| desk.devices.find(id).filter(|slot| is_free(cohort, desk.devices, *slot)));
        let Some(slot) = known.unwrap_or_else(|| free.pop()) else { continue };
        if give(cohort, slot, test.order, class, desk) {
            cohort.round.running.push((slot, test.order.to_bits()));
            given += 1;
        }
    }
    let pickup = interval::floor_lifetime(&cohort.fleet.interval) + SETTLE;
    (cohort.round.class, cohort.round.began) = (Some(class), desk.second.saturating_add(pickup.as_secs() as u32));
    given
}

/// Nobody was given a test. While others test for their own sake somebody will be free again; else what is known is all
/// that there will be, and where that is nothing, there is another day.
fn rest_or_settle(cohort: &mut Cohort, class: BindingClass, second: u32) {
    if cohort.counts.testing > 0 || !cohort.waiting.is_empty() {
        return;
    }
    let Some((learning, beyond)) = cohort.of(class).open() else { return };
    if beyond.number() > 0 || !learning.is_searching() {
        learning.settle_for_this();
        cohort.is_dirty = true;
    } else {
        let floor = interval::floor(&cohort.fleet.interval).as_secs() as u32;
        cohort.round.not_before = second.saturating_add(floor * REST_FLOORS);
    }
}

fn is_free(cohort: &Cohort, devices: &Devices, slot: Slot) -> bool {
    let device = devices.get(slot);
    device.cohort() == cohort.index && device.is_free()
}

/// Free devices, the next ones in turn.
fn pick(cohort: &mut Cohort, devices: &Devices, count: usize, is_wanted: impl Fn(&Device) -> bool) -> Vec<Slot> {
    let members = &cohort.members;
    let mut picked = Vec::with_capacity(count);
    for _ in 0..members.len().min(count.saturating_mul(SCAN_PER_DEVICE)) {
        cohort.round.cursor = (cohort.round.cursor + 1) % members.len();
        let slot = members[cohort.round.cursor];
        let device = devices.get(slot);
        if device.is_free() && is_wanted(device) {
            picked.push(slot);
            if picked.len() == count {
                break;
            }
        }
    }
    picked
}

/// One test more: does a device that has its pace still live as long, or longer? Or one that was worse off as long?
fn watch(cohort: &mut Cohort, desk: &mut Desk<'_>) {
    if cohort.fleet.probes.devices_watching <= 0.0 {
        return;
    }
    let turn = cohort.round.watched.wrapping_add(1);
    cohort.round.watched = turn;
    let is_seen_anyway = cohort.ports.are_drawn_anew();
    let is_lower = cohort.counts.lower > 0 && turn % LONGER_EVERY == 1;
    let statement = if is_lower { Is::LOWER | Is::PROBING } else { Is::PROVEN };
    let Some(slot) = pick(cohort, desk.devices, 1, |device| device.counted.all(statement)).pop() else { return };
    let device = desk.devices.get(slot);
    let lifetime = if is_lower { None } else { device.shown.supported(&cohort.offers) };
    let Some(lifetime) = lifetime.or(cohort.offers.first().map(|offer| offer.lower)) else { return };
    let interval = interval_of(cohort, device);
    let is_longer = !is_lower && (is_seen_anyway || turn.is_multiple_of(LONGER_EVERY));
    let borne = cohort.longest_wait(device).filter(|_| !is_lower).unwrap_or(lifetime);
    let order = if is_longer { longer(cohort, lifetime) } else { ProbeOrder::one(borne) };
    give(cohort, slot, order, cohort.paced_class(), desk);
    let rest = rest(cohort, order, interval) * if is_seen_anyway { f64::from(LONGER_EVERY) } else { 1.0 };
    cohort.round.not_before = desk.second.saturating_add(rest.clamp(1.0, 86_400.0) as u32);
}

/// Seconds until the next test, so that the watch takes no more packets and devices than it may.
fn rest(cohort: &Cohort, order: ProbeOrder, interval: Duration) -> f64 {
    let packets = WATCH_PACKETS * f64::from(order.flows);
    let beats = interval.min(interval::floor(&cohort.fleet.interval) * WATCH_FLOORS).as_secs_f64();
    let by_packets = packets * beats / (WATCH_SHARE * f64::from(cohort.counts.present));
    let longest = order.cell(u16::from(order.flows) - 1).silence().as_secs_f64();
    by_packets.max(longest / (cohort.fleet.probes.devices_watching * f64::from(cohort.counts.probing)))
}

/// The lifetime and a longer one, which an order's two flows test together.
fn longer(cohort: &Cohort, lifetime: Cell) -> ProbeOrder {
    let turn = (cohort.round.watched / LONGER_EVERY) as usize;
    let flows = cohort.fleet.probes.flows.min(2);
    let step = LONGER_STEPS[turn % LONGER_STEPS.len()];
    let first = if flows < 2 { lifetime.plus(1 << step) } else { lifetime };
    ProbeOrder { first, flows, step }
}

/// Devices that are asked at once, because one of them contradicts itself.
fn call(cohort: &mut Cohort, desk: &mut Desk<'_>) {
    let wanted = std::mem::take(&mut cohort.round.witnesses) as usize;
    if wanted == 0 {
        return;
    }
    for slot in pick(cohort, desk.devices, wanted, |device| device.counted.all(Is::PROVEN)) {
        let Some(wait) = cohort.longest_wait(desk.devices.get(slot)) else { continue };
        give(cohort, slot, ProbeOrder::one(wait), cohort.paced_class(), desk);
    }
}
