//! What is believed of a lifetime before it is tested: vendors' usual values, what neighbours turned out to have, and
//! always a flat part, so that a wrong guess costs two or three tests and not the answer.

use std::time::Duration;

use flyball_sdk::device::probe::Cell;

use super::belief::Belief;

/// The shortest and the longest lifetime looked for by default: 10 s and 2 h lie well inside.
const RANGE: (Duration, Duration) = (Duration::from_secs(9), Duration::from_secs(7_500));
/// Timeouts that vendors ship and carriers set, in seconds.
const VENDORS_SECONDS: [u64; 8] = [30, 60, 65, 90, 120, 180, 300, 600];
/// How far, in cells, half a vendor's spike reaches: carriers' boxes are mostly a little off the round value.
const SPIKE_CELLS: f64 = 3.0;
/// The part of belief that is flat over the logarithm of the lifetime.
const FLAT_SHARE: f64 = 0.35;
/// The part that neighbours get together; the nearest takes half of it, the next a quarter, and so on.
const NEIGHBOURS_SHARE: f64 = 0.6;
/// How far, in cells, a neighbour's belief is smeared: its box is alike, not the same.
const NEIGHBOUR_CELLS: f64 = 2.0;
/// Less of a neighbour's belief than this says nothing.
const NEIGHBOUR_MASS_MIN: f64 = 1e-9;
/// The part of belief that is flat where there are neighbours, apart from what is flat in the vendors' part.
const SHARED_FLAT_SHARE: f64 = 0.1;
/// The part of flat belief on either side of the range.
const OUTSIDE_SHARE: f64 = 0.005;

/// A distribution over lifetimes: one bin below the range, one for each cell of it, one above.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    first: Cell,
    masses: Vec<f64>,
}

impl Default for Prior {
    /// Of vendors' values, from 10 s to 2 h.
    fn default() -> Self {
        Self::vendors(Cell::at_most(RANGE.0), Cell::at_most(RANGE.1))
    }
}

impl Prior {
    /// Flat over the logarithm of the lifetime between these two cells.
    pub fn flat(first: Cell, last: Cell) -> Self {
        let first = Cell::new(first.number().max(1));
        let cells = usize::from(last.number().saturating_sub(first.number()).max(1));
        let mut masses = vec![(1.0 - 2.0 * OUTSIDE_SHARE) / cells as f64; cells + 2];
        masses[0] = OUTSIDE_SHARE;
        masses[cells + 1] = OUTSIDE_SHARE;
        Self { first, masses }
    }

    /// Vendors' values within these two cells, and a third flat; all flat where none lies there.
    pub fn vendors(first: Cell, last: Cell) -> Self {
        let flat = Self::flat(first, last);
        let mut spikes = vec![0.0; flat.masses.len()];
        for seconds in VENDORS_SECONDS {
            let cell = Cell::at_most(Duration::from_secs(seconds));
            if flat.first <= cell && cell < flat.last() {
                let bin = usize::from(cell.number() - flat.first.number()) + 1;
                add_kernel(&mut spikes, bin, SPIKE_CELLS, 1.0);
            }
        }
        normalise(&mut spikes);
        flat.mixed(&[(&spikes, 1.0 - FLAT_SHARE)])
    }

    /// What neighbours have (the nearest first: prefix, region, carrier), what vendors ship, and a flat part. The range is
    /// the nearest one's; a neighbour of another range does not count.
    pub fn shared(neighbours: &[&Belief]) -> Self {
        let Some(nearest) = neighbours.first() else { return Self::default() };
        let flat = Self::flat(nearest.first(), nearest.last());
        let vendors = Self::vendors(nearest.first(), nearest.last());
        let alike = |one: &&&Belief| one.first() == nearest.first() && one.last() == nearest.last();
        let mut theirs = vec![0.0; flat.masses.len()];
        let mut share = 1.0;
        for neighbour in neighbours.iter().filter(alike) {
            share *= 0.5;
            for (bin, mass) in neighbour.masses().enumerate().filter(|(_, mass)| *mass > NEIGHBOUR_MASS_MIN) {
                add_kernel(&mut theirs, bin, NEIGHBOUR_CELLS, share * mass);
            }
        }
        normalise(&mut theirs);
        let vendors_share = 1.0 - NEIGHBOURS_SHARE - SHARED_FLAT_SHARE;
        flat.mixed(&[(&theirs, NEIGHBOURS_SHARE), (&vendors.masses, vendors_share)])
    }

    /// The shortest lifetime that is told from a shorter one.
    pub const fn first(&self) -> Cell {
        self.first
    }

    /// The longest lifetime that is told from a longer one.
    pub fn last(&self) -> Cell {
        self.first.plus(self.masses.len() as u16 - 2)
    }

    /// One mass for what is below the range, one for each cell, one for what is above. They sum to 1.
    pub fn masses(&self) -> &[f64] {
        &self.masses
    }

    /// These parts, and this one for the rest.
    fn mixed(mut self, parts: &[(&Vec<f64>, f64)]) -> Self {
        let has_mass = |part: &[f64]| part.iter().sum::<f64>() > 0.0;
        let parts: Vec<_> = parts.iter().filter(|(masses, _)| has_mass(masses)).collect();
        let rest = 1.0 - parts.iter().map(|(_, share)| share).sum::<f64>();
        for (bin, mass) in self.masses.iter_mut().enumerate() {
            *mass = rest * *mass + parts.iter().map(|(masses, share)| share * masses[bin]).sum::<f64>();
        }
        self
    }
}

/// Adds `mass` around a bin, falling off by half each `half` bins; what falls outside is left out.
fn add_kernel(masses: &mut [f64], bin: usize, half: f64, mass: f64) {
    let fall = 0.5_f64.powf(1.0 / half);
    let share = mass * (1.0 - fall) / (1.0 + fall);
    let mut side = share;
    for offset in 0..(8.0 * half) as usize {
        if let Some(above) = masses.get_mut(bin + offset) {
            *above += side;
        }
        if let Some(below) = bin.checked_sub(offset).filter(|_| offset > 0) {
            masses[below] += side;
        }
        side *= fall;
    }
}

fn normalise(masses: &mut [f64]) {
    let sum: f64 = masses.iter().sum();
    if sum > 0.0 {
        masses.iter_mut().for_each(|mass| *mass /= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(seconds: f64) -> Cell {
        Cell::at_most(Duration::from_secs_f64(seconds))
    }

    fn mass_around(prior: &Prior, seconds: f64) -> f64 {
        Belief::new(prior).mass_within(cell(seconds).minus(6), cell(seconds).plus(7))
    }

    #[test]
    fn every_prior_sums_to_one_and_rules_nothing_out() {
        let belief = Belief::new(&Prior::default());
        let short = Prior::vendors(cell(0.8), cell(12.0));
        let shared = Prior::shared(&[&belief, &Belief::new(&short)]);
        for prior in [Prior::default(), Prior::flat(cell(1.0), cell(1.0)), short, shared, Prior::shared(&[])] {
            assert!((prior.masses().iter().sum::<f64>() - 1.0).abs() < 1e-6, "{prior:?}");
            assert!(prior.masses().iter().all(|mass| *mass > 1e-5));
        }
    }

    #[test]
    fn vendors_values_are_likelier_than_those_between() {
        let prior = Prior::default();
        for seconds in VENDORS_SECONDS {
            assert!(mass_around(&prior, seconds as f64) > 0.05, "{seconds}");
        }
        assert!(mass_around(&prior, 230.0) < 0.01);
    }

    #[test]
    fn a_neighbours_value_is_likely_and_others_stay_possible() {
        let mut neighbour = Belief::new(&Prior::default());
        neighbour.observe(cell(229.0), super::super::belief::Evidence::Survived);
        neighbour.observe(cell(231.0), super::super::belief::Evidence::Expired { false_probability: 1e-6 });
        let prior = Prior::shared(&[&neighbour]);
        assert!(mass_around(&prior, 230.0) > 0.4);
        assert!(mass_around(&prior, 120.0) > 0.01);
        assert!(mass_around(&prior, 2_000.0) > 1e-3);
    }
}
