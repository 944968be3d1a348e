//! Carriers, NATs and devices as a seed draws them. Rows are drawn by systematic sampling, so that the seeds differ in
//! which carrier has which NAT, and hardly in how many there are: what a fleet costs depends on little else.

use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

use super::scenario::{Carriers, DrawnCarriers, FleetFault, FleetFaultKind, MixtureRow, Nat};

/// How the devices of a carrier with one, two or three boxes are spread over them.
const SPREADS: [&[f64]; 3] = [&[1.0], &[0.6, 0.4], &[0.5, 0.3, 0.2]];

/// One carrier: one cohort.
#[derive(Debug, Clone)]
pub(super) struct Carrier {
    pub(super) name: Arc<str>,
    pub(super) region: Arc<str>,
    /// Its NATs, by their place in [`Drawn::nats`].
    pub(super) nats: Vec<u32>,
    pub(super) joins_at: Duration,
}

/// A fleet.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    pub(super) carriers: Vec<Carrier>,
    pub(super) nats: Vec<Nat>,
    /// Carrier and NAT of each device, by their places.
    pub(super) devices: Vec<(u32, u32)>,
}

/// The fleet of a seed.
pub(super) fn draw(plan: &Carriers, seed: u64) -> Drawn {
    let mut drawn = Drawn::default();
    for carrier in &plan.named {
        let boxes: Vec<(f64, Nat)> = carrier.boxes.iter().map(|plan| (plan.share, plan.nat)).collect();
        let (name, region) = (Arc::clone(&carrier.name), Arc::clone(&carrier.region));
        drawn.add(name, region, carrier.joins_at, carrier.devices, &boxes);
    }
    if let Some(plan) = &plan.drawn {
        drawn.add_drawn(plan, &mut Pcg64Mcg::seed_from_u64(seed));
    }
    drawn
}

impl Drawn {
    fn add(&mut self, name: Arc<str>, region: Arc<str>, joins_at: Duration, devices: u32, boxes: &[(f64, Nat)]) {
        let (carrier, first) = (self.carriers.len() as u32, self.nats.len() as u32);
        let total: f64 = boxes.iter().map(|(share, _)| share).sum();
        let mut until = 0.0;
        let mut given = 0;
        for (share, nat) in boxes {
            until += share / total * f64::from(devices);
            let count = until.round() as u32 - given;
            given += count;
            if count > 0 {
                self.devices.extend((0..count).map(|_| (carrier, self.nats.len() as u32)));
                self.nats.push(*nat); // a box of nobody is none, and no measure of what the carrier bears
            }
        }
        let nats = (first..self.nats.len() as u32).collect();
        self.carriers.push(Carrier { name, region, nats, joins_at });
    }

    fn add_drawn(&mut self, plan: &DrawnCarriers, random: &mut Pcg64Mcg) {
        let sizes = box_counts(plan, random);
        let slots: f64 = f64::from(plan.count);
        let mut nats = systematic(&plan.mixture, &sizes, random).into_iter();
        for (i, boxes) in sizes.iter().enumerate() {
            let spread = SPREADS[boxes - 1];
            let boxes: Vec<(f64, Nat)> = spread
                .iter()
                .zip(&mut nats)
                .map(|(share, row)| (*share, nat(&plan.mixture[row], plan, random)))
                .collect();
            let until = |i: usize| (i as f64 / slots * f64::from(plan.devices)).round() as u32;
            let region = if i % 2 == 0 { "north" } else { "south" };
            self.add(format!("drawn-{}", i + 1).into(), region.into(), Duration::ZERO, until(i + 1) - until(i), &boxes);
        }
    }
}

/// The carriers' own changes: each halves or doubles its timeouts once in `every`, on average.
pub(super) fn changes(fleet: &Drawn, every: Duration, duration: Duration, seed: u64) -> Vec<FleetFault> {
    let mut random = Pcg64Mcg::seed_from_u64(seed ^ 0x6368_616e_6765);
    let mut changes = Vec::new();
    for carrier in &fleet.carriers {
        let gap: f64 = Exp1.sample(&mut random);
        let factor = if random.random::<bool>() { 0.5 } else { 2.0 };
        let at = every.mul_f64(gap);
        if at < duration {
            let (carrier, kind) = (Some(Arc::clone(&carrier.name)), FleetFaultKind::TimeoutTimes(factor));
            changes.push(FleetFault { at, carrier, kind });
        }
    }
    changes
}

/// How many boxes each carrier has; the shares are exact up to rounding.
fn box_counts(plan: &DrawnCarriers, random: &mut Pcg64Mcg) -> Vec<usize> {
    let count = plan.count as usize;
    let three = (f64::from(plan.count) * plan.three_boxes).round() as usize;
    let two = (f64::from(plan.count) * plan.two_boxes).round() as usize;
    let mut sizes: Vec<usize> =
        (0..count).map(|i| if i < three { 3 } else { 1 + usize::from(i < three + two) }).collect();
    sizes.shuffle(random);
    sizes
}

/// A row for each box of each carrier. Every spread's place has a comb of its own over the rows' weights, so that the
/// *devices* have the mixture's shares, not only the boxes.
fn systematic(mixture: &[MixtureRow], sizes: &[usize], random: &mut Pcg64Mcg) -> Vec<usize> {
    let total: f64 = mixture.iter().map(|row| row.weight).sum();
    let mut rows: Vec<usize> = vec![0; sizes.iter().sum()];
    let firsts: Vec<usize> = sizes.iter().scan(0, |at, size| Some(std::mem::replace(at, *at + size))).collect();
    for size in 1..=SPREADS.len() {
        for place in 0..size {
            let mut of: Vec<usize> =
                (0..sizes.len()).filter(|i| sizes[*i] == size).map(|i| firsts[i] + place).collect();
            of.shuffle(random);
            let (offset, teeth) = (random.random::<f64>(), of.len() as f64);
            for (tooth, at) in of.into_iter().enumerate() {
                rows[at] = row_at((tooth as f64 + offset) / teeth * total, mixture);
            }
        }
    }
    rows
}

fn row_at(mut weight: f64, mixture: &[MixtureRow]) -> usize {
    for (i, row) in mixture.iter().enumerate() {
        weight -= row.weight;
        if weight < 0.0 {
            return i;
        }
    }
    mixture.len() - 1
}

fn nat(row: &MixtureRow, plan: &DrawnCarriers, random: &mut Pcg64Mcg) -> Nat {
    let mut is = |share: f64| random.random::<f64>() < share;
    let (has_wheel, is_port_kept, is_trapped) = (is(plan.wheels), is(row.ports_kept), is(row.unreplied_share));
    let off = row.half_width.mul_f64(2.0 * random.random::<f64>());
    let stream = (row.timeout + off).saturating_sub(row.half_width);
    Nat {
        stream,
        unreplied: if is_trapped { row.unreplied.min(stream) } else { stream },
        granularity: if has_wheel { stream.mul_f64(plan.wheel_part) } else { Duration::ZERO },
        is_port_kept,
        is_inbound_refreshing: true,
        ports_max: None,
    }
}

/// The mixture of what is met in the field: weight, timeout and half-width in seconds, whether it is one of Linux's,
/// whose unreplied bindings live 30 s in half of the boxes, and whether it is a home router's, which keeps ports.
const FACTS: [(f64, f64, f64, bool, bool); 9] = [
    (0.14, 30.0, 1.0, true, false),
    (0.07, 45.0, 5.0, false, false),
    (0.25, 62.5, 3.0, false, false),
    (0.08, 95.0, 6.0, false, true),
    (0.26, 117.0, 4.0, true, true),
    (0.08, 180.0, 2.0, true, true),
    (0.08, 300.0, 3.0, false, false),
    (0.02, 600.0, 5.0, false, false),
    (0.02, 1_800.0, 10.0, false, false),
];

/// Home routers keep ports in 90 % of cases, carriers draw new ones in 40 %.
const PORTS_KEPT: [f64; 2] = [0.6, 0.9];

/// See [`FACTS`].
pub fn facts() -> Vec<MixtureRow> {
    let row = |(weight, timeout, half_width, is_linux, is_home)| MixtureRow {
        weight,
        timeout: Duration::from_secs_f64(timeout),
        half_width: Duration::from_secs_f64(half_width),
        unreplied: Duration::from_secs(30),
        unreplied_share: if is_linux { 0.5 } else { 0.0 },
        ports_kept: PORTS_KEPT[usize::from(is_home)],
    };
    FACTS.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_the_shares_of_the_mixture_whatever_the_seed() {
        let plan = DrawnCarriers {
            devices: 6_000,
            count: 100,
            mixture: facts(),
            two_boxes: 0.2,
            three_boxes: 0.1,
            wheels: 0.15,
            wheel_part: 0.1,
        };
        let carriers = Carriers { named: Vec::new(), drawn: Some(plan) };
        for seed in 1..=20 {
            let fleet = draw(&carriers, seed);
            assert_eq!((fleet.devices.len(), fleet.carriers.len(), fleet.nats.len()), (6_000, 100, 140));
            let near = |seconds: f64, width: f64| {
                let is = |(_, nat): &&(u32, u32)| {
                    (fleet.nats[*nat as usize].stream.as_secs_f64() - seconds).abs() <= width + 0.01
                };
                fleet.devices.iter().filter(is).count() as f64 / 6_000.0
            };
            for (weight, seconds, width, ..) in FACTS {
                assert!((near(seconds, width) - weight).abs() < 0.03, "{seconds} s: {}", near(seconds, width));
            }
        }
    }
}
