//! What is written down while a run goes on: sums by carrier, when devices came to a pace that fits, what was ordered.

use std::time::Duration;

use super::device::Device;
use super::draw::Drawn;
use super::ledger::Sums;
use super::metrics::FleetScore;
use super::rollouts::Rollouts;
use super::scenario::{FleetScenario, Nat};
use super::trace::{FleetRun, Stretch};
use crate::keepalive::cohort::CohortEntry;
use crate::keepalive::interval;
use crate::keepalive::order::Orders;
use crate::keepalive::policy::IntervalBounds;
use crate::keepalive::report::RolloutReport;
use crate::keepalive::wave::audit::Event;
use crate::time::MonoTime;

/// Stretches of a run's trace.
const STRETCHES: u32 = 240;
/// The shortest stretch.
const STRETCH_MIN: Duration = Duration::from_secs(1);
/// A pace fits from this part of what the cohort's shortest NAT bears on.
const FIT: f64 = 0.9;
/// A fall of an interval by less than this part is rounding.
const FALL: f64 = 0.02;
/// So long after a change of the NATs a fall of the interval is its effect.
const EFFECT: Duration = Duration::from_secs(1_800);

/// Sums as they were at a moment.
#[derive(Debug)]
struct Mark {
    at: MonoTime,
    sums: Option<Vec<Sums>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Recorder {
    bounds: IntervalBounds,
    warmup: MonoTime,
    every: Duration,
    sums: Vec<Sums>,
    at_warmup: Mark,
    at_event: Mark,
    at_settled: Mark,
    carriers: Vec<CarrierRecord>,
    devices: Vec<DeviceRecord>,
    carrier_of: Vec<u32>,
    last: Sums,
    next_sample: MonoTime,
    stretches: Vec<Stretch>,
    false_shortenings: u32,
    rollouts: Rollouts,
}

#[derive(Debug)]
struct CarrierRecord {
    nats: Vec<u32>,
    /// The interval that its shortest NAT bears.
    bearable: Duration,
    shortened_at: Option<MonoTime>,
    changed_at: Option<MonoTime>,
    changes: u32,
    /// Ordered last.
    interval: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct DeviceRecord {
    started: Option<MonoTime>,
    fits_since: Option<MonoTime>,
    /// First fit after the first change of its carrier.
    adapted: Option<MonoTime>,
    is_fitting: bool,
    /// Tests earned it a pace longer than its cohort's that its NAT did not bear.
    is_overpaced: bool,
    /// Told that no pace serves its NAT.
    is_hostile: bool,
    /// Since when it is behind another carrier's NAT.
    moved: Option<MonoTime>,
    /// Generation of its pace and changes of its carrier that this was found for.
    judged: Option<(u64, u32)>,
    /// Its interval over what its own NAT bears.
    pace_ratio: f64,
}

impl Recorder {
    pub(super) fn new(scenario: &FleetScenario, fleet: &Drawn) -> Self {
        let start = MonoTime::default();
        let bounds = scenario.policy.interval;
        let every = (scenario.duration / STRETCHES).max(STRETCH_MIN);
        let carrier = |nats: &Vec<u32>| CarrierRecord {
            nats: nats.clone(),
            bearable: bearable(&bounds, nats, &fleet.nats),
            shortened_at: None,
            changed_at: None,
            changes: 0,
            interval: Duration::ZERO,
        };
        Self {
            bounds,
            warmup: start.plus(scenario.warmup),
            every,
            sums: vec![Sums::default(); fleet.carriers.len()],
            at_warmup: Mark::at(start.plus(scenario.warmup)),
            at_event: Mark::at(start.plus(scenario.event_at)),
            at_settled: Mark::at(start.plus(scenario.event_at + scenario.settle)),
            carriers: fleet.carriers.iter().map(|drawn| carrier(&drawn.nats)).collect(),
            devices: vec![DeviceRecord::default(); fleet.devices.len()],
            carrier_of: fleet.devices.iter().map(|(carrier, _)| *carrier).collect(),
            last: Sums::default(),
            next_sample: start.plus(every.min(scenario.warmup)),
            stretches: Vec::new(),
            false_shortenings: 0,
            rollouts: Rollouts::default(),
        }
    }

    pub(super) fn sums(&mut self, carrier: u32) -> &mut Sums {
        &mut self.sums[carrier as usize]
    }

    pub(super) fn sent(&mut self, carrier: u32, is_probe: bool) {
        let sums = &mut self.sums[carrier as usize];
        sums.sent += 1;
        sums.sent_for_probes += u64::from(is_probe);
    }

    pub(super) fn nats_of(&self, carrier: u32) -> Vec<u32> {
        self.carriers[carrier as usize].nats.clone()
    }

    /// Whether it follows a pace of its own that was too long for its NAT when it was told.
    pub(super) fn is_overpaced(&self, index: u32) -> bool {
        self.devices[index as usize].is_overpaced
    }

    /// A device's beat was acked: the ack told it a pace.
    pub(super) fn acked(&mut self, now: MonoTime, index: u32, device: &Device, nats: &[Nat]) {
        self.rollouts.told(now, index, device);
        let carrier = &self.carriers[device.carrier as usize];
        let record = &mut self.devices[index as usize];
        record.is_hostile = device.machine.pace().is_hostile;
        let judged = (device.machine.pace().generation, carrier.changes);
        if record.judged == Some(judged) {
            return; // Nothing has changed since this device was looked at.
        }
        let is_new_pace = record.judged.is_none_or(|(generation, _)| generation != judged.0);
        record.judged = Some(judged);
        record.started.get_or_insert(now);
        let own = nats[device.nat as usize].stream;
        let floor = interval::floor(&self.bounds);
        let is_safe = device.machine.pace().longest() <= own || device.machine.pace().interval <= floor;
        if is_new_pace {
            record.is_overpaced = !is_safe && device.machine.pace().interval > carrier.interval;
        }
        record.is_fitting = is_safe && device.machine.pace().interval >= carrier.bearable.mul_f64(FIT);
        record.pace_ratio =
            device.machine.pace().interval.as_secs_f64() / interval::paced(&self.bounds, own).interval.as_secs_f64();
        if record.is_fitting {
            record.fits_since.get_or_insert(now);
            if carrier.changed_at.is_some() || record.moved.is_some() {
                record.adapted.get_or_insert(now);
            }
        }
    }

    /// The timeouts of a carrier were multiplied.
    pub(super) fn changed(&mut self, carrier: u32, factor: f64, now: MonoTime, nats: &[Nat]) {
        let record = &mut self.carriers[carrier as usize];
        record.bearable = bearable(&self.bounds, &record.nats, nats);
        record.changed_at.get_or_insert(now);
        record.changes += 1;
        if factor < 1.0 {
            record.shortened_at = Some(now);
        }
    }

    /// Other bounds are in force: what fits is judged anew, and learning begins again.
    pub(super) fn follows(&mut self, bounds: IntervalBounds, now: MonoTime, nats: &[Nat]) {
        self.bounds = bounds;
        for record in &mut self.carriers {
            record.bearable = bearable(&bounds, &record.nats, nats);
        }
        for record in self.devices.iter_mut().filter(|record| record.started.is_some()) {
            (record.started, record.fits_since, record.judged) = (Some(now), None, None);
        }
    }

    /// A device is another carrier's.
    pub(super) fn moved(&mut self, index: u32, carrier: u32, now: MonoTime) {
        let record = &mut self.devices[index as usize];
        (record.moved, record.adapted, record.judged) = (Some(now), None, None);
        self.carrier_of[index as usize] = carrier;
    }

    pub(super) fn ordered(&mut self, now: MonoTime, orders: &Orders) {
        for (record, order) in self.carriers.iter_mut().zip(orders.cohorts.iter().skip(1)) {
            let is_fall = order.pace.interval < record.interval.mul_f64(1.0 - FALL);
            let is_effect = record.shortened_at.is_some_and(|at| now.since(at) < EFFECT);
            self.false_shortenings += u32::from(is_fall && !is_effect && now >= self.warmup);
            record.interval = order.pace.interval;
        }
    }

    /// What happened to a rollout.
    pub(super) fn released(&mut self, now: MonoTime, event: &Event, cohorts: &[CohortEntry], devices: &[Device]) {
        self.rollouts.happened(now, event, cohorts, devices);
    }

    /// The operator said something, and so many rollouts obeyed.
    pub(super) fn commanded(&mut self, obeyed: usize) {
        self.rollouts.refused += u32::from(obeyed == 0);
    }

    /// The server began again: rollouts before and after.
    pub(super) fn restarted(&mut self, rollouts: [&[RolloutReport]; 2], cohorts: &[CohortEntry], devices: &[Device]) {
        self.rollouts.resumed.restarted(rollouts, cohorts, devices);
    }

    /// A device was told something unasked.
    pub(super) fn told(&mut self, now: MonoTime, index: u32, device: &Device) {
        self.rollouts.told(now, index, device);
    }

    pub(super) fn is_sample_due(&self, now: MonoTime) -> bool {
        now >= self.next_sample
            || [&self.at_warmup, &self.at_event, &self.at_settled].iter().any(|mark| mark.is_due(now))
    }

    /// All devices have been settled up to `now`.
    pub(super) fn sample(&mut self, now: MonoTime, devices: &[Device]) {
        for mark in [&mut self.at_warmup, &mut self.at_event, &mut self.at_settled] {
            mark.set(now, &self.sums);
        }
        if now < self.next_sample {
            return;
        }
        self.next_sample = now.plus(self.every);
        let all = self.sums.iter().fold(Sums::default(), |all, sums| all.and(*sums));
        let since = all.since(self.last);
        self.last = all;
        let there: Vec<&DeviceRecord> =
            devices.iter().zip(&self.devices).filter(|(device, _)| device.is_on).map(|(_, record)| record).collect();
        let mean = |of: fn(&DeviceRecord) -> f64| {
            let sum: f64 = there.iter().map(|record| of(record)).sum();
            if there.is_empty() { 0.0 } else { sum / there.len() as f64 }
        };
        self.stretches.push(Stretch {
            until: now.since(MonoTime::default()).as_secs_f64(),
            coverage: since.coverage(),
            heartbeats: since.a_day(since.sent),
            probe_packets: since.a_day(since.sent_for_probes),
            second_acks: since.a_day(since.second_acks),
            pace_ratio: mean(|record| record.pace_ratio),
            fitting: mean(|record| f64::from(u8::from(record.is_fitting))),
        });
    }

    /// The run is over.
    pub(super) fn close(self, scenario: &FleetScenario) -> FleetRun {
        let zeros = vec![Sums::default(); self.sums.len()];
        let marked = |mark: &Mark| mark.sums.clone().unwrap_or_else(|| zeros.clone());
        let [at_warmup, at_event, at_settled] = [&self.at_warmup, &self.at_event, &self.at_settled].map(marked);
        let learnt: Vec<Sums> = self.sums.iter().zip(&at_warmup).map(|(all, before)| all.since(*before)).collect();
        let total = |sums: &[Sums]| sums.iter().fold(Sums::default(), |total, sums| total.and(*sums));
        let (all, after) = (total(&self.sums), total(&learnt));
        let before_event = total(&at_event).since(if self.at_warmup.at < self.at_event.at {
            total(&at_warmup)
        } else {
            Sums::default()
        });
        let settled = all.since(total(&at_settled));
        let rollback_seconds = percentile(self.rollouts.took(MonoTime::default().plus(scenario.duration)), 0.99);
        let score = FleetScore {
            coverage: all.coverage(),
            coverage_learnt: after.coverage(),
            coverage_before: before_event.coverage(),
            coverage_after: settled.coverage(),
            coverage_worst_cohort: learnt.iter().map(Sums::coverage).fold(1.0, f64::min),
            uncovered_seconds: all.seconds_a_day(all.present - all.covered),
            heartbeats: all.a_day(all.sent),
            heartbeats_learnt: after.a_day(after.sent),
            heartbeats_before: before_event.a_day(before_event.sent),
            heartbeats_after: settled.a_day(settled.sent),
            probe_packets: all.a_day(all.sent_for_probes),
            tests: all.a_day(all.tests),
            second_acks: all.a_day(all.second_acks),
            lost_by_probing: all.seconds_a_day(all.overpaced),
            learn_seconds: self.learn_seconds(scenario),
            adapt_seconds: self.adapt_seconds(scenario),
            false_shortenings: f64::from(self.false_shortenings),
            hostile: self.hostile(),
            rollbacks: f64::from(self.rollouts.rollbacks),
            released: f64::from(self.rollouts.released),
            wave_at_stop: self.rollouts.wave_at_stop as f64,
            refused_commands: f64::from(self.rollouts.refused),
            wave_after_restart: self.rollouts.resumed.wave as f64,
            wave_devices: self.rollouts.resumed.treated as f64,
            wave_devices_moved: self.rollouts.resumed.moved() as f64,
            rollback_seconds,
        };
        FleetRun { score, stretches: self.stretches }
    }

    fn hostile(&self) -> f64 {
        let started = self.devices.iter().filter(|record| record.started.is_some()).count();
        self.devices.iter().filter(|record| record.is_hostile).count() as f64 / started.max(1) as f64
    }

    fn learn_seconds(&self, scenario: &FleetScenario) -> f64 {
        let end = MonoTime::default().plus(scenario.duration);
        let took = |record: &DeviceRecord| Some(record.fits_since.unwrap_or(end).since(record.started?).as_secs_f64());
        percentile(self.devices.iter().filter_map(took).collect(), 0.95)
    }

    fn adapt_seconds(&self, scenario: &FleetScenario) -> f64 {
        let end = MonoTime::default().plus(scenario.duration);
        let changed = |record: &DeviceRecord, carrier: u32| {
            let at = record.moved.or(self.carriers[carrier as usize].changed_at)?;
            record.started?;
            Some(record.adapted.unwrap_or(end).since(at).as_secs_f64())
        };
        let carriers = self.devices.iter().zip(&self.carrier_of);
        percentile(carriers.filter_map(|(record, carrier)| changed(record, *carrier)).collect(), 0.99)
    }
}

impl Mark {
    fn at(at: MonoTime) -> Self {
        Self { at, sums: None }
    }

    fn is_due(&self, now: MonoTime) -> bool {
        self.sums.is_none() && now >= self.at
    }

    fn set(&mut self, now: MonoTime, sums: &[Sums]) {
        if self.is_due(now) {
            self.sums = Some(sums.to_vec());
        }
    }
}

fn bearable(bounds: &IntervalBounds, of: &[u32], nats: &[Nat]) -> Duration {
    let shortest = of.iter().map(|nat| nats[*nat as usize].stream).min().unwrap_or_default();
    interval::paced(bounds, shortest).interval
}

/// 0 of nothing.
fn percentile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (part * values.len() as f64).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}
