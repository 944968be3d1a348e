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
            let bin = i32::from(cell.number()) - i32::from(flat.first.number()) + 1;
            if bin >= 1 && (bin as usize) < spikes.len() - 1 {
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
            for (bin, mass) in neighbour.masses().enumerate() {
                add_kernel(&mut theirs, bin as i32, NEIGHBOUR_CELLS, share * mass);
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
fn add_kernel(masses: &mut [f64], bin: i32, half: f64, mass: f64) {
    if mass < 1e-12 {
        return;
    }
    let reach = (8.0 * half) as i32;
    let share = mass * 0.5_f64.powf(1.0 / half).mul_add(-1.0, 1.0) / 2.0;
    for offset in -reach..=reach {
        let target = bin + offset;
        if target >= 0 && (target as usize) < masses.len() {
            masses[target as usize] += share * 0.5_f64.powf(f64::from(offset.abs()) / half);
        }
    }
}

fn normalise(masses: &mut [f64]) {
    let sum: f64 = masses.iter().sum();
    if sum > 0.0 {
        masses.iter_mut().for_each(|mass| *mass /= sum);
    }
}
