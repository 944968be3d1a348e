//! What is believed of a lifetime before it is tested: vendors' usual values, what neighbours turned out to have, and
//! always a flat part, so that a wrong guess costs two or three tests and not the answer.

use std::time::Duration;

use flyball_sdk::device::probe::Cell;

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

/// Where a neighbour's lifetimes are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// At least.
    pub lower: Cell,
    /// At most.
    pub upper: Cell,
    /// In proportion to the others'.
    pub share: f64,
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
        Self::vendors_scaled(first, last, 1.0)
    }

    /// The same where everything is `scale` times as long: a lab or a demonstration is faster than the field.
    pub fn vendors_scaled(first: Cell, last: Cell, scale: f64) -> Self {
        let flat = Self::flat(first, last);
        let mut spikes = vec![0.0; flat.masses.len()];
        for seconds in VENDORS_SECONDS {
            let cell = Cell::at_most(Duration::from_secs(seconds).mul_f64(scale));
            if flat.first <= cell && cell < flat.last() {
                let bin = usize::from(cell.number() - flat.first.number()) + 1;
                add_kernel(&mut spikes, bin, SPIKE_CELLS, 1.0);
            }
        }
        normalise(&mut spikes);
        flat.mixed(&[(&spikes, 1.0 - FLAT_SHARE)])
    }

    /// This, and what neighbours have: by nearness (region, then carrier), each with bounds of its lifetimes and the part
    /// of its devices that has them. No neighbour is sure enough to be more than two or three tests if it is wrong, and
    /// a flat part is always left.
    pub fn shared(&self, neighbours: &[Vec<Known>]) -> Self {
        let mut theirs = vec![0.0; self.masses.len()];
        let mut share = 1.0;
        for known in neighbours {
            let total: f64 = known.iter().map(|one| one.share).sum();
            if total > 0.0 {
                share *= 0.5;
                known.iter().for_each(|one| self.smear(&mut theirs, one, share * one.share / total));
            }
        }
        if share == 1.0 {
            return self.clone();
        }
        normalise(&mut theirs);
        let own_share = 1.0 - NEIGHBOURS_SHARE - SHARED_FLAT_SHARE;
        Self::flat(self.first, self.last()).mixed(&[(&theirs, NEIGHBOURS_SHARE), (&self.masses, own_share)])
    }

    /// Adds `mass` where this says that lifetimes are, and around it.
    fn smear(&self, masses: &mut [f64], known: &Known, mass: f64) {
        let bin =
            |cell: Cell| usize::from((cell.number() + 1).saturating_sub(self.first.number())).min(masses.len() - 1);
        let (low, high) = (bin(known.lower), bin(known.upper));
        let bins = (low + 1).min(high)..=high;
        let part = mass / bins.clone().count() as f64;
        bins.for_each(|bin| add_kernel(masses, bin, NEIGHBOUR_CELLS, part));
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
    use super::super::belief::Belief;
    use super::*;

    fn cell(seconds: f64) -> Cell {
        Cell::at_most(Duration::from_secs_f64(seconds))
    }

    fn known(lower: f64, upper: f64) -> Known {
        Known { lower: cell(lower), upper: cell(upper), share: 1.0 }
    }

    fn mass_around(prior: &Prior, seconds: f64) -> f64 {
        Belief::new(prior).mass_within(cell(seconds).minus(6), cell(seconds).plus(7))
    }

    #[test]
    fn every_prior_sums_to_one_and_rules_nothing_out() {
        let short = Prior::vendors(cell(0.8), cell(12.0));
        let shared = Prior::default().shared(&[vec![known(0.1, 0.2), known(117.0, 118.0)], vec![known(1.0, 90_000.0)]]);
        for prior in [Prior::default(), Prior::flat(cell(1.0), cell(1.0)), short, shared] {
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
        let prior = Prior::default().shared(&[vec![known(229.0, 231.0)]]);
        assert!(mass_around(&prior, 230.0) > 0.4);
        assert!(mass_around(&prior, 120.0) > 0.01);
        assert!(mass_around(&prior, 2_000.0) > 1e-3);
    }

    #[test]
    fn the_nearer_neighbours_count_for_more_and_none_changes_nothing() {
        let prior = Prior::default().shared(&[vec![known(76.0, 77.0)], vec![known(229.0, 231.0); 40]]);
        assert!(mass_around(&prior, 76.5) > 1.5 * mass_around(&prior, 230.0));
        assert!(mass_around(&prior, 230.0) > 0.1);
        assert_eq!(Prior::default().shared(&[Vec::new()]), Prior::default());
    }
}
