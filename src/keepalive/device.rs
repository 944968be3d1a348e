//! What one device has shown of the NAT before it, and what follows for it alone.
//!
//! A cohort may be several boxes, and a rare one must not pay for the others' patience. So the cohort only *offers*
//! lifetimes, one for each box it is known to hold; a device takes an offer when a test of its own has survived a silence
//! that long, and loses it with the first binding of its own that expired in less. What it is paced by is therefore
//! always a silence that it survived itself, and nothing else is kept of it: two cells.
//!
//! Limits: a device believes its latest evidence, as NATs change; one false expiry (three packets of a test lost, and
//! none of the control) costs it a few tests more.

use std::time::Duration;

use flyball_sdk::device::probe::{Cell, FLOWS_MAX, ProbeOrder};

/// A bracket this narrow is known well enough for one device: five percent.
const BRACKET_CELLS: u16 = 10;
/// The largest step of a ladder: cells from one flow to the next are `2^step`.
const STEP_MAX: u8 = 7;

/// Boxes whose lifetimes are nearer than this many cells, 32 %, are taken for one: a timer wheel forgets up to a turn late, now
/// and then, and who is paced by the turn that it saw loses messages in the others.
pub const APART_CELLS: u16 = 56;

/// The lifetime of a box that devices may try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// At least; what is tested, and paced for.
    pub lower: Cell,
    /// At most.
    pub upper: Cell,
}

/// The longest silence that was survived, and the shortest that was not: cell 0 stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    survived: Cell,
    expired: Cell,
}

impl Default for Shown {
    fn default() -> Self {
        Self { survived: NONE, expired: NONE }
    }
}

const NONE: Cell = Cell::new(0);

impl Shown {
    /// As an earlier process knew it; cell 0 = none. Survivals from the expiry on count no more.
    pub fn of(survived: Cell, expired: Cell) -> Self {
        Self { survived: if expired != NONE && survived >= expired { NONE } else { survived }, expired }
    }

    /// A binding outlived this silence.
    pub fn survive(&mut self, silence: Duration) {
        let cell = Cell::at_most(silence);
        self.survived = self.survived.max(cell);
        if self.expired <= self.survived {
            self.expired = NONE;
        }
    }

    /// A binding did not. Longer survivals before it count no more.
    pub fn expire(&mut self, silence: Duration) {
        let cell = at_least(silence);
        self.expired = if self.expired == NONE { cell } else { self.expired.min(cell) };
        if self.survived >= self.expired {
            self.survived = NONE;
        }
    }

    /// The NAT is another now: what was survived before says nothing, and what expired was not for long.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The NAT is more patient now: what expired before says nothing.
    pub fn forget_expiry(&mut self) {
        self.expired = NONE;
    }

    /// The longest silence that was survived, `None` for none.
    pub fn survived(&self) -> Option<Cell> {
        (self.survived != NONE).then_some(self.survived)
    }

    /// The shortest silence that was not.
    pub fn expired(&self) -> Option<Cell> {
        (self.expired != NONE).then_some(self.expired)
    }

    /// The lifetime that this device may be paced for: the longest offer that it survived; its own survival where it is
    /// behind none of the boxes offered.
    pub fn supported(&self, offers: &[Offer]) -> Option<Cell> {
        let survived = self.survived()?;
        let offer = offers.iter().rev().find(|offer| offer.lower <= survived);
        Some(offer.filter(|offer| !offer.is_beyond(survived)).map_or(survived, |offer| offer.lower))
    }

    /// The test that this device is to make for its own sake, `lowest` being what the floor serves in any case. The
    /// offers, from the shortest until one fails; then, where there is room for another box between two of them, whether
    /// it is behind that; and a ladder in its own bracket where it is behind none that the cohort knows.
    pub fn next_test(&self, offers: &[Offer], lowest: Cell, flows: u8) -> Option<ProbeOrder> {
        let is_open = |cell: Cell| cell > self.survived && self.expired().is_none_or(|expired| cell < expired);
        let next = offers.iter().find(|offer| offer.lower > lowest && is_open(offer.lower));
        if let Some(offer) = next {
            return Some(ProbeOrder::one(offer.lower));
        }
        let (expired, survived) = (self.expired()?, self.survived.max(lowest));
        if expired.number() <= survived.number() + BRACKET_CELLS {
            return None;
        }
        match offers.iter().rev().find(|offer| offer.lower <= survived) {
            Some(offer) if offer.is_beyond(expired.minus(BRACKET_CELLS)) && !offer.is_beyond(survived) => {
                Some(ProbeOrder::one(offer.beyond()))
            }
            Some(offer) if !offer.is_beyond(survived) => None,
            _ => Some(ladder(survived, expired, flows)),
        }
    }
}

impl Offer {
    /// The shortest silence that no device of this box survives, its timer's wheel allowed for.
    pub fn beyond(&self) -> Cell {
        self.upper.plus(APART_CELLS)
    }

    fn is_beyond(&self, cell: Cell) -> bool {
        cell >= self.beyond()
    }
}

/// Flows evenly spread between two cells, as far as powers of two allow.
pub fn ladder(low: Cell, high: Cell, flows: u8) -> ProbeOrder {
    let flows = flows.clamp(1, FLOWS_MAX);
    let cells = high.number().saturating_sub(low.number());
    let part = (cells / (u16::from(flows) + 1)).max(1);
    let step = (part.ilog2() as u8).min(STEP_MAX);
    let spread = u16::from(flows - 1) << step;
    ProbeOrder { first: low.plus(cells.saturating_sub(spread).div_ceil(2).max(1)), flows, step }
}

/// The shortest cell that is not shorter than the silence.
pub fn at_least(silence: Duration) -> Cell {
    let below = Cell::at_most(silence);
    // A silence of half a thousandth more than a cell's is that cell's: the wire and the clocks round.
    if silence.as_secs_f64() > below.silence().as_secs_f64() * 1.0005 { below.plus(1) } else { below }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(seconds: f64) -> Cell {
        Cell::at_most(Duration::from_secs_f64(seconds))
    }

    fn offers(seconds: &[f64]) -> Vec<Offer> {
        let offer = |lower: Cell| Offer { lower, upper: lower.plus(4) };
        seconds.iter().map(|seconds| offer(cell(*seconds))).collect()
    }

    fn shown(survived: &[f64], expired: &[f64]) -> Shown {
        let mut shown = Shown::default();
        survived.iter().for_each(|seconds| shown.survive(Duration::from_secs_f64(*seconds)));
        expired.iter().for_each(|seconds| shown.expire(Duration::from_secs_f64(*seconds)));
        shown
    }

    #[test]
    fn a_device_takes_the_longest_offer_that_it_survived_itself() {
        let offers = offers(&[61.0, 116.0]);
        assert_eq!(shown(&[], &[]).supported(&offers), None);
        assert_eq!(shown(&[30.0], &[]).supported(&offers), Some(cell(30.0)));
        assert_eq!(shown(&[62.0], &[]).supported(&offers), Some(cell(61.0)));
        assert_eq!(shown(&[120.0], &[]).supported(&offers), Some(cell(116.0)));
        assert_eq!(shown(&[170.0], &[]).supported(&offers), Some(cell(170.0)), "of another box");
        assert_eq!(shown(&[170.0], &[]).supported(&[]), Some(cell(170.0)));
    }

    #[test]
    fn the_latest_evidence_counts() {
        assert_eq!(shown(&[116.0], &[90.0]).survived(), None);
        let mut shown = shown(&[], &[90.0, 116.0]);
        assert_eq!(shown.expired(), Some(at_least(Duration::from_secs(90))));
        shown.survive(Duration::from_secs(100));
        assert_eq!((shown.expired(), shown.survived()), (None, Some(cell(100.0))));
    }

    #[test]
    fn offers_are_tested_from_the_shortest_until_one_fails() {
        let (offers, lowest) = (offers(&[61.0, 116.0]), cell(18.75));
        let next = |shown: Shown| shown.next_test(&offers, lowest, 4);
        assert_eq!(next(shown(&[], &[])), Some(ProbeOrder::one(offers[0].lower)));
        assert_eq!(next(shown(&[61.0], &[])), Some(ProbeOrder::one(offers[1].lower)));
        let beyond = Some(ProbeOrder::one(offers[0].beyond()));
        assert_eq!(next(shown(&[61.0], &[116.0])), beyond, "there may be a box between");
        assert_eq!(next(shown(&[61.0], &[70.0, 116.0])), None);
        assert_eq!(next(shown(&[61.0, 116.0], &[])), None);
    }

    #[test]
    fn a_device_of_no_known_box_searches_its_own_bracket() {
        let (offers, lowest) = (offers(&[61.0, 116.0]), cell(18.75));
        for (truth, mut shown) in [(30.0, shown(&[], &[61.0])), (95.0, shown(&[61.0], &[116.0]))] {
            let mut rounds = 0;
            while let Some(order) = shown.next_test(&offers, lowest, 4) {
                for tested in order.cells().map(Cell::silence) {
                    assert!(tested > lowest.silence() && tested < Duration::from_secs(117), "{tested:?}");
                    if tested.as_secs_f64() < truth { shown.survive(tested) } else { shown.expire(tested) }
                }
                rounds += 1;
            }
            let lower = shown.supported(&offers).expect("survivals").silence().as_secs_f64();
            assert!(rounds <= 3 && (0.93 * truth..truth).contains(&lower), "{lower} after {rounds}");
        }
    }

    #[test]
    fn a_ladder_lies_within_its_bracket() {
        for (low, high) in [(730, 760), (730, 731), (730, 733), (600, 1_900), (730, 1_091)] {
            for flows in 1..=4 {
                let order = ladder(Cell::new(low), Cell::new(high), flows);
                let cells: Vec<u16> = order.cells().map(Cell::number).collect();
                assert!(cells[0] > low, "{low}..{high}: {cells:?}");
                assert!(high - low <= 5 || cells.iter().all(|cell| *cell < high), "{low}..{high}: {cells:?}");
            }
        }
    }
}
