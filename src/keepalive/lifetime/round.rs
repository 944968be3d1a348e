//! Many tests at a time: several flows on each of several devices behind one box.
//!
//! Within a round no test knows the others' outcomes, so the silences are chosen together: those that cut the belief into
//! the most even pieces. A test may be lost, so a piece counts by its chance of being cut at all: that spreads the tests
//! over what is open first and doubles them where the answer hangs on one. A piece that one answer covers needs no cut.
//!
//! What a device can be told is one ladder of silences, each longer by the same power of two cells. Devices are given
//! theirs one after the other, each the ladder that adds most to those before: the gain is submodular, so that this is
//! never worse than 63 % of the best choice (Nemhauser, Wolsey and Fisher, 1978), and is close to it here. For the same
//! reason what a ladder added once is never less than what it adds later, so that most of them need not be looked at
//! again (Minoux, 1978): a plan for eight devices takes under a millisecond.
//!
//! A round lasts as long as its longest silence, unless the rest is abandoned: a test is waited for while what it may
//! tell is worth the time, where one bit is worth a round.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use flyball_sdk::device::probe::{Cell, FLOWS_MAX, ProbeOrder};

use super::belief::Belief;
use super::probe::Sums;

/// Steps of a ladder that are tried.
const STEPS: u8 = 8;
/// Beginnings of a ladder that are tried, evenly over what is open, and as many more evenly over the belief.
const STARTS: usize = 40;
/// Belief outside of what is open.
const CLOSED: f64 = 1e-5;
/// The chance that a test decides: it is neither lost nor mistaken.
const DECIDES: f64 = 0.9;
/// What a round costs, in lifetimes: a round less is worth waiting longer in this one.
const ROUND: f64 = 2.0;

/// The next round: at most one order a device, of at most so many flows. Empty where the lifetime is known.
pub fn next(belief: &Belief, devices: usize, flows: u8) -> Vec<ProbeOrder> {
    let flows = flows.min(FLOWS_MAX);
    if flows == 0 || belief.next_probe().is_none() {
        return Vec::new();
    }
    let mut board = Board::of(belief);
    let mut ladders = board.ladders(belief, flows);
    (0..devices).map_while(|_| board.best(&mut ladders, flows)).collect()
}

/// Whether the round should go on for any of these silences, still running and `waited` after they began; else a round
/// of better tests may begin.
pub fn is_worth_waiting(belief: &Belief, running: impl IntoIterator<Item = Cell>, waited: Duration) -> bool {
    let sums = Sums::of(belief);
    let answered = sums.window(belief).mass;
    if answered >= belief.precision.confidence {
        return false;
    }
    // What is open is one bit at most, so that the last doubts are worth a round too.
    let open = if answered > 0.5 { bits(answered) } else { 1.0 };
    let price = ROUND * belief.quantile(0.5).silence().as_secs_f64();
    running.into_iter().any(|cell| {
        let told = belief.index_of_test(cell).map_or(0.0, |at| bits(sums.gone(at)));
        waited.is_zero() || told / open * price >= cell.silence().saturating_sub(waited).as_secs_f64()
    })
}

/// The belief as a line, and the tests placed on it.
struct Board {
    first: Cell,
    /// Probability that a test at this index finds the binding gone.
    gone: Vec<f64>,
    /// The last index that one answer covers together with each.
    reach: Vec<usize>,
    /// Sorted.
    tests: Vec<usize>,
}

/// Where a ladder begins, its step, and at least what it adds; in this order, and the shortest first.
#[derive(Clone, Copy)]
struct Ladder {
    gain: f64,
    start: usize,
    step: u8,
}

/// A cut that may or may not happen, on one side of a place: where, how much lies below it, and its chance.
#[derive(Clone, Copy)]
struct Side {
    at: Option<usize>,
    below: f64,
    chance: f64,
}

impl Ord for Ladder {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |ladder: &Self| (ladder.start, ladder.step);
        self.gain.total_cmp(&other.gain).then_with(|| place(other).cmp(&place(self)))
    }
}

impl PartialOrd for Ladder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ladder {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ladder {}

impl Board {
    fn of(belief: &Belief) -> Self {
        let sums = Sums::of(belief);
        let tests = belief.bins() - 1;
        Self {
            first: belief.first(),
            gone: (0..tests).map(|at| sums.gone(at)).collect(),
            reach: belief.reaches[1..].iter().map(|high| usize::from(*high) - 1).collect(),
            tests: Vec::new(),
        }
    }

    /// Where ladders may begin.
    fn starts(&self, belief: &Belief) -> Vec<usize> {
        let last = self.gone.len() - 1;
        let find = |q: f64| self.gone.partition_point(|gone| *gone < q).min(last);
        let (low, high) = (find(CLOSED).saturating_sub(1), find(1.0 - CLOSED));
        let evenly = (0..=STARTS).map(|start| low + (high - low) * start / STARTS);
        let by_belief = (0..STARTS).map(|start| find((start as f64 + 0.5) / STARTS as f64));
        let mut starts: Vec<usize> = evenly.chain(by_belief).collect();
        starts.extend(belief.next_probe().and_then(|cell| belief.index_of_test(cell)));
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// All ladders, each with at least what it adds: as much as its flows would one by one.
    fn ladders(&self, belief: &Belief, flows: u8) -> BinaryHeap<Ladder> {
        let mut alone = vec![f64::NAN; self.gone.len()];
        let mut gain_alone = |at: usize| {
            let Some(gain) = alone.get_mut(at) else { return 0.0 };
            if gain.is_nan() {
                *gain = self.gain_of_one(at);
            }
            *gain
        };
        let mut ladders = Vec::new();
        for start in self.starts(belief) {
            for step in 0..STEPS {
                let gain = (0..flows).map(|flow| gain_alone(start + (usize::from(flow) << step))).sum();
                ladders.push(Ladder { gain, start, step });
            }
        }
        ladders.into()
    }

    /// The ladder that adds most, placed; `None` where none adds anything.
    fn best(&mut self, ladders: &mut BinaryHeap<Ladder>, flows: u8) -> Option<ProbeOrder> {
        let best = loop {
            let mut ladder = ladders.pop()?;
            ladder.gain = self.gain(ladder.start, flows, ladder.step);
            if ladders.peek().is_none_or(|next| ladder >= *next) {
                break ladder;
            }
            ladders.push(ladder);
        };
        for flow in 0..flows {
            self.place(best.start + (usize::from(flow) << best.step));
        }
        let (first, step) = (self.first.plus(best.start as u16), best.step);
        ladders.push(best);
        (best.gain > 0.0).then_some(ProbeOrder { first, flows, step })
    }

    /// What this ladder tells beyond the tests placed, each flow beyond those before.
    fn gain(&mut self, start: usize, flows: u8, step: u8) -> f64 {
        let mut gain = 0.0;
        let mut placed = [0; FLOWS_MAX as usize];
        for flow in 0..flows {
            let at = start + (usize::from(flow) << step);
            if at < self.gone.len() {
                gain += self.gain_of_one(at);
            }
            placed[usize::from(flow)] = at;
            self.place(at);
        }
        placed[..usize::from(flows)].iter().for_each(|at| self.take(*at));
        gain
    }

    fn place(&mut self, at: usize) {
        let place = self.tests.partition_point(|test| *test < at);
        self.tests.insert(place, at);
    }

    fn take(&mut self, at: usize) {
        let place = self.tests.partition_point(|test| *test < at);
        self.tests.remove(place);
    }

    /// Bits that a test here adds: the piece that it cuts lies between the nearest tests that decide.
    fn gain_of_one(&self, at: usize) -> f64 {
        let place = self.tests.partition_point(|test| *test < at);
        let below = self.sides(self.tests[..place].iter().rev(), 0.0);
        let above = self.sides(self.tests[place..].iter(), 1.0);
        let here = self.gone[at];
        let mut gain = 0.0;
        for left in below {
            for right in above {
                gain += left.chance * right.chance * self.cut(left, here, right);
            }
        }
        DECIDES * gain
    }

    /// The two nearest cuts on one side; the end of the line where there are fewer.
    fn sides<'a>(&self, mut nearest: impl Iterator<Item = &'a usize>, end: f64) -> [Side; 2] {
        let mut side = |chance| match nearest.next() {
            Some(at) => Side { at: Some(*at), below: self.gone.get(*at).copied().unwrap_or(1.0), chance },
            None => Side { at: None, below: end, chance },
        };
        [side(DECIDES), side(1.0 - DECIDES)]
    }

    /// Bits of cutting the piece between two cuts, `here` of all below the place; none where one answer covers the piece.
    fn cut(&self, left: Side, here: f64, right: Side) -> f64 {
        if let (Some(low), Some(high)) = (left.at, right.at)
            && self.reach.get(low).is_none_or(|reach| high <= *reach)
        {
            return 0.0;
        }
        let (low, high) = (here - left.below, right.below - here);
        if low <= 0.0 || high <= 0.0 {
            return 0.0;
        }
        let whole = low + high;
        // The same as the pieces' bits less the whole's, with a logarithm less.
        (low * (whole / low).log2() + high * (whole / high).log2()).max(0.0)
    }
}

/// Bits of a piece of this mass in a whole.
fn piece(mass: f64) -> f64 {
    if mass > 0.0 { -mass * mass.log2() } else { 0.0 }
}

/// Bits of an outcome of this probability.
fn bits(probability: f64) -> f64 {
    piece(probability) + piece(1.0 - probability)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepalive::lifetime::belief::Evidence;
    use crate::keepalive::lifetime::prior::Prior;

    fn cell(seconds: f64) -> Cell {
        Cell::at_most(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn a_round_has_one_order_a_device_and_says_the_same_each_time() {
        let belief = Belief::new(&Prior::default());
        for (devices, flows) in [(0, 4), (1, 1), (1, 4), (8, 4), (8, 2), (40, 9)] {
            let orders = next(&belief, devices, flows);
            assert_eq!(orders.len(), devices);
            assert!(orders.iter().all(|order| order.flows == flows.min(FLOWS_MAX) && order.step < STEPS));
            assert!(orders.iter().all(|order| ProbeOrder::from_bits(order.to_bits()) == Some(*order)));
            assert_eq!(orders, next(&belief, devices, flows));
        }
        assert!(next(&belief, 8, 0).is_empty());
    }

    #[test]
    fn one_flow_of_one_device_tests_what_a_single_search_would() {
        let belief = Belief::new(&Prior::flat(cell(10.0), cell(7_200.0)));
        let order = next(&belief, 1, 1)[0];
        let single = belief.next_probe().map_or(0, Cell::number);
        assert!(order.first.number().abs_diff(single) < 30, "{order:?} {single}");
    }

    #[test]
    fn a_first_round_of_32_tests_leaves_no_wide_gap() {
        let belief = Belief::new(&Prior::flat(cell(10.0), cell(7_200.0)));
        let mut cells: Vec<u16> =
            next(&belief, 8, 4).into_iter().flat_map(ProbeOrder::cells).map(Cell::number).collect();
        cells.sort_unstable();
        // Evenly it would be 40 cells.
        assert!(cells.windows(2).all(|pair| pair[1] - pair[0] <= 120), "{cells:?}");
    }

    #[test]
    fn nothing_is_ordered_or_waited_for_once_the_lifetime_is_known() {
        let mut belief = Belief::new(&Prior::default());
        belief.observe(cell(119.0), Evidence::Survived);
        (0..4).for_each(|_| belief.observe(cell(120.5), Evidence::Expired { false_probability: 1e-4 }));
        assert!(next(&belief, 8, 4).is_empty());
        assert!(!is_worth_waiting(&belief, [cell(121.0)], Duration::from_secs(120)));
    }

    #[test]
    fn longer_tests_are_abandoned_once_shorter_ones_expired_and_kept_while_they_live() {
        let mut belief = Belief::new(&Prior::flat(cell(10.0), cell(7_200.0)));
        let running = [cell(180.0), cell(400.0), cell(1_000.0)];
        belief.observe(cell(119.0), Evidence::Survived);
        assert!(is_worth_waiting(&belief, running, Duration::from_secs(120)));
        belief.observe(cell(146.0), Evidence::Expired { false_probability: 5e-4 });
        assert!(!is_worth_waiting(&belief, running, Duration::from_secs(146)));
    }
}
