//! What is known of each device's own box: the longest silence it outlived, and the shortest it did not.

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{CELLS, Cell};

use super::Outcome;

/// Devices kept apart. 256 survivals exclude a box of 4 % at 99.9 %; a fifth of the cohort takes 31.
pub const DEVICES_MAX: usize = 256;
/// A timer wheel forgets anywhere in `[T, T + granularity]`; up to this many cells (11.6 %) a device's own contradiction
/// is taken for one. Wider ones are a false expiry, or a device that moved.
pub(super) const WHEEL_CELLS: u16 = 22;
/// No expiry seen.
pub(super) const NEVER: u16 = CELLS;

/// One device's evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bracket {
    /// Who.
    pub device: DeviceId,
    /// The longest silence that it outlived, by cell; 0 = none.
    pub survived: u16,
    /// The shortest that it did not; [`NEVER`] = none.
    pub expired: u16,
    /// Probability that all its expiries were false.
    pub false_probability: f32,
}

/// The evidence of a cohort's devices, bounded.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Evidence {
    brackets: Vec<Bracket>,
    /// Cells by which one device's outcomes contradict each other at most: the width of a wheel's edge.
    pub(super) edge_cells: u16,
}

impl Bracket {
    const fn new(device: DeviceId) -> Self {
        Self { device, survived: 0, expired: NEVER, false_probability: 1.0 }
    }

    /// Whether an expiry is known.
    pub const fn has_expired(&self) -> bool {
        self.expired < NEVER
    }

    /// Takes one outcome in; the width of the contradiction that it makes, in cells.
    fn take(&mut self, cell: Cell, outcome: Outcome) -> u16 {
        match outcome {
            Outcome::Survived => self.take_survival(cell.number()),
            Outcome::Expired { false_probability } => self.take_expiry(cell.number(), false_probability as f32),
        }
    }

    fn take_survival(&mut self, cell: u16) -> u16 {
        if cell < self.expired {
            self.survived = self.survived.max(cell);
            return 0;
        }
        let width = cell - self.expired + 1;
        let is_wheel = width <= WHEEL_CELLS && self.false_probability < 0.01;
        if is_wheel {
            return width;
        }
        *self = Self { survived: cell, ..Self::new(self.device) };
        0
    }

    fn take_expiry(&mut self, cell: u16, false_probability: f32) -> u16 {
        if cell > self.survived {
            // Two expiries are both false only where each is; one at a longer silence than a known one adds nothing.
            let is_new = self.has_expired();
            self.false_probability =
                if is_new { self.false_probability * false_probability } else { false_probability };
            self.expired = self.expired.min(cell);
            return 0;
        }
        let width = self.survived - cell + 1;
        // The device lives behind a wheel, or has moved, or the expiry is false: the longer survival is not believed.
        let is_believed = width <= WHEEL_CELLS && false_probability < 0.01;
        if is_believed {
            self.survived = self.survived.saturating_sub(WHEEL_CELLS).min(cell - 1);
            (self.expired, self.false_probability) = (cell, false_probability);
            return width;
        }
        0
    }
}

impl Evidence {
    pub(super) fn brackets(&self) -> &[Bracket] {
        &self.brackets
    }

    pub(super) fn take(&mut self, device: DeviceId, cell: Cell, outcome: Outcome) {
        if cell.number() == 0 {
            return;
        }
        let at = self.brackets.iter().position(|bracket| bracket.device == device);
        let Some(at) = at.or_else(|| self.admit(device, outcome)) else { return };
        let width = self.brackets[at].take(cell, outcome);
        self.edge_cells = self.edge_cells.max(width);
    }

    /// A place for a new device. In a full table an expiry takes the place of a device that only outlived: what is lost
    /// is a survival, and the lower bound errs to the short side.
    fn admit(&mut self, device: DeviceId, outcome: Outcome) -> Option<usize> {
        if self.brackets.len() < DEVICES_MAX {
            self.brackets.push(Bracket::new(device));
            return Some(self.brackets.len() - 1);
        }
        if outcome == Outcome::Survived {
            return None;
        }
        let outlived = self.brackets.iter().enumerate().filter(|(_, bracket)| !bracket.has_expired());
        let (at, _) = outlived.min_by_key(|(_, bracket)| bracket.survived)?;
        self.brackets[at] = Bracket::new(device);
        Some(at)
    }
}
