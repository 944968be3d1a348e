//! Which silences a device is asked to test, and what came of it.
//!
//! A test runs on a flow of its own (a socket of its own, so a binding of its own), never on the one that carries
//! messages. The device opens the flow, has it answered, and for a stream keeps it going past the time that NATs take to
//! count it as one; then the flow is silent. At the end of the silence the device asks the server, *over its main flow*,
//! to send to the side flow: the answer on the main flow is the control that tells expiry from loss. It asks three
//! times within two seconds, so that one lost packet decides nothing.

use std::time::Duration;

/// The shortest silence of the grid: cell 0.
pub const GRID_START: Duration = Duration::from_millis(500);
/// Each cell is this much longer than the one before.
pub const GRID_RATIO: f64 = 1.005;
/// Cells of the grid; cell 0 means "none" on the wire. The last is 3.8 hours.
pub const CELLS: u16 = 2_048;
/// Flows that one order opens at most.
pub const FLOWS_MAX: u8 = 4;
/// Times that the end of a silence is asked for.
pub const TRIES: u8 = 3;
/// Time between two of these.
pub const TRY_EVERY: Duration = Duration::from_millis(700);
/// From the opening of a flow to the packet that makes it a stream: Linux takes 2 s.
pub const SETTLE: Duration = Duration::from_millis(2_100);

/// A silence on the grid: `0.5 s x 1.005^cell`. One cell is half a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(u16);

impl Cell {
    /// The cell of this number; the last one for a larger number.
    pub const fn new(number: u16) -> Self {
        Self(if number < CELLS { number } else { CELLS - 1 })
    }

    /// The longest cell that is not longer than `silence`; the first for a shorter silence.
    pub fn at_most(silence: Duration) -> Self {
        let cells = (silence.as_secs_f64() / GRID_START.as_secs_f64()).ln() / GRID_RATIO.ln();
        // A silence that is a cell's own must not become the one before for a rounding's sake.
        Self::new((cells + 1e-6).floor().clamp(0.0, f64::from(CELLS - 1)) as u16)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its length.
    pub fn silence(self) -> Duration {
        GRID_START.mul_f64(GRID_RATIO.powi(i32::from(self.0)))
    }

    /// This many cells longer.
    pub fn plus(self, cells: u16) -> Self {
        Self::new(self.0.saturating_add(cells))
    }

    /// This many cells shorter.
    pub fn minus(self, cells: u16) -> Self {
        Self(self.0.saturating_sub(cells))
    }
}

/// What a device is asked to test: one to four flows whose silences are a ladder. 16 bits on the wire: 2 bits flows less
/// one, 3 bits step, 11 bits the shortest cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProbeOrder {
    /// The shortest silence.
    pub first: Cell,
    /// Flows, 1 to [`FLOWS_MAX`].
    pub flows: u8,
    /// Cells from one flow's silence to the next: `2^step`, step 0 to 7: 0.5 % to 89 %.
    pub step: u8,
}

impl ProbeOrder {
    /// Of one silence.
    pub const fn one(cell: Cell) -> Self {
        Self { first: cell, flows: 1, step: 0 }
    }

    /// The silences, shortest first.
    pub fn cells(self) -> impl Iterator<Item = Cell> {
        (0..u16::from(self.flows)).map(move |flow| self.cell(flow))
    }

    /// The silence of one flow.
    pub fn cell(self, flow: u16) -> Cell {
        self.first.plus(flow << self.step)
    }

    /// As the wire carries it.
    pub const fn to_bits(self) -> u16 {
        ((self.flows as u16 - 1) & 3) << 14 | (self.step as u16 & 7) << 11 | self.first.number()
    }

    /// From the wire; `None` where no probe is ordered.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        let first = Cell::new(bits & (CELLS - 1));
        if first.number() == 0 {
            return None;
        }
        Some(Self { first, flows: (bits >> 14) as u8 + 1, step: (bits >> 11 & 7) as u8 })
    }
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeOutcome {
    /// A packet passed to the side flow after the silence.
    Survived,
    /// None passed, and the control did.
    Expired,
    /// Neither passed, or the test could not be made: it says nothing.
    Lost,
}

/// What a device tells of one flow of a probe. 8 bytes on the wire: order u16, flow u8, phase u8, outcome u8, controls
/// u8, passed u8, zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReport {
    /// The order's bits.
    pub order: ProbeOrder,
    /// Which flow, from 0.
    pub flow: u8,
    /// Where in the test.
    pub phase: ProbePhase,
    /// How it ended; meaningful in the last phase only.
    pub outcome: ProbeOutcome,
    /// Tries whose control came back, 0 to [`TRIES`].
    pub controls: u8,
    /// Tries whose packet reached the side flow.
    pub passed: u8,
}

/// A test's phases; the first two and the last are sent from the side flow, the third from the main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbePhase {
    /// Opens the flow; the server answers there, unless the order tests unreplied bindings.
    Open = 1,
    /// Keeps it, past [`SETTLE`]; the server answers there. The silence begins.
    Settle = 2,
    /// Ends the silence: the server sends to the side flow and answers on the main one.
    Test = 3,
    /// Tells the outcome, from the side flow: the server sees whether it has kept its public port.
    Report = 4,
}

impl ProbeReport {
    /// As the wire carries it.
    pub fn to_bytes(self) -> [u8; 8] {
        let [high, low] = self.order.to_bits().to_be_bytes();
        let outcome = match self.outcome {
            ProbeOutcome::Survived => 1,
            ProbeOutcome::Expired => 2,
            ProbeOutcome::Lost => 3,
        };
        [high, low, self.flow, self.phase as u8, outcome, self.controls, self.passed, 0]
    }

    /// From the wire; `None` where it tells nothing, or nothing that this version knows.
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        let order = ProbeOrder::from_bits(u16::from_be_bytes([bytes[0], bytes[1]]))?;
        let phase = match bytes[3] {
            1 => ProbePhase::Open,
            2 => ProbePhase::Settle,
            3 => ProbePhase::Test,
            4 => ProbePhase::Report,
            _ => return None,
        };
        let outcome = match bytes[4] {
            1 => ProbeOutcome::Survived,
            2 => ProbeOutcome::Expired,
            3 => ProbeOutcome::Lost,
            _ => return None,
        };
        let is_known = bytes[2] < order.flows && bytes[5] <= TRIES && bytes[6] <= TRIES && bytes[7] == 0;
        is_known.then_some(Self { order, flow: bytes[2], phase, outcome, controls: bytes[5], passed: bytes[6] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_cell_of_its_own_length() {
        for number in 0..CELLS {
            assert_eq!(Cell::at_most(Cell::new(number).silence()).number(), number);
        }
        assert_eq!(Cell::at_most(Duration::ZERO).number(), 0);
        assert_eq!(Cell::at_most(Duration::from_secs(1_000_000)).number(), CELLS - 1);
        let cell = Cell::at_most(Duration::from_secs(120));
        assert!(cell.silence() <= Duration::from_secs(120) && cell.plus(1).silence() > Duration::from_secs(120));
    }

    #[test]
    fn every_order_and_report_survives_the_wire() {
        for bits in 0..=u16::MAX {
            let order = ProbeOrder::from_bits(bits);
            assert_eq!(order.map(ProbeOrder::to_bits), (bits & (CELLS - 1) != 0).then_some(bits));
        }
        let order = ProbeOrder { first: Cell::new(900), flows: 4, step: 5 };
        assert_eq!(order.cells().map(Cell::number).collect::<Vec<_>>(), [900, 932, 964, 996]);
        let report = ProbeReport {
            order,
            flow: 3,
            phase: ProbePhase::Report,
            outcome: ProbeOutcome::Expired,
            controls: 3,
            passed: 0,
        };
        assert_eq!(ProbeReport::from_bytes(report.to_bytes()), Some(report));
        assert_eq!(ProbeReport::from_bytes([0; 8]), None);
    }
}
