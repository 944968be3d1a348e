//! Which test comes next: search one device's box, see that others do not forget before it, and that enough forget by
//! its end; chase what does otherwise.

use flyball_sdk::device::probe::Cell;

use super::claims;
use super::distribution::{self, Rung};
use super::evidence::{Bracket, NEVER, WHEEL_CELLS};
use super::{Bounds, NextTest, SearchWeights, Who};

/// A gap of this many cells (2.5 %) is narrow enough to be confirmed by others.
const NARROW_CELLS: u16 = 5;
/// Cells below what one device outlived, and above what it did not, that others are tested at: devices of one box differ
/// by their timers' rounding.
const MARGIN_CELLS: (u16, u16) = (2, 1);
/// Tests of survival below the gap before the first above it: few, since a wrong gap shows in them first.
const BELOW_FIRST: usize = 3;
/// A box below the one in question is found out about if it may have this share.
const SMALL_SHARE: f64 = 0.05;
/// Shares from this on, close below, are the edge of the same box.
const EDGE_SHARE: f64 = 0.02;
/// How far below an expiry, in cells (7 %), a device is tested first, where others outlived as much: it may be its
/// timer's wheel.
const WHEEL_FIRST_CELLS: u16 = 14;

/// What is to be shown next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Narrow this gap.
    Search(Rung),
    /// Show that less than a fifth forgets before this cell.
    Below(u16),
    /// Show that a fifth forgets by the second of those that outlive the first.
    Above(u16, u16),
    /// Nothing.
    Done,
}

/// The step that the evidence asks for.
pub(super) fn step(brackets: &[Bracket], bounds: Bounds) -> Step {
    let rungs = distribution::rungs(brackets);
    let at = lowest_fifth(&rungs);
    let rung = rungs[at];
    let is_wide = |rung: &&Rung| rung.expired - rung.survived > NARROW_CELLS;
    let small = rungs[..at].iter().filter(|rung| rung.share >= SMALL_SHARE);
    if let Some(wide) = std::iter::once(&rung).chain(small.clone()).find(is_wide) {
        return Step::Search(*wide);
    }
    let below = edge(&rungs[..=at]).saturating_sub(MARGIN_CELLS.0).max(1);
    let above = rung.expired.saturating_add(MARGIN_CELLS.1);
    let guard = small.map(|rung| rung.survived.saturating_sub(MARGIN_CELLS.0).max(1)).next();
    if let Some(guard) = guard.filter(|guard| bounds.lower < *guard && unknown(brackets, *guard).next().is_some()) {
        return Step::Below(guard);
    }
    let outlived = brackets.iter().filter(|bracket| bracket.survived >= below).count();
    match (bounds.lower >= below, bounds.upper <= above) {
        (true, true) => Step::Done,
        (is_below_shown, false) if is_below_shown || outlived > BELOW_FIRST => Step::Above(below, above),
        _ => Step::Below(below),
    }
}

/// Where the box of the last rung begins: where its devices differ, with their rungs below.
fn edge(rungs: &[Rung]) -> u16 {
    let rungs = rungs.iter().rev().filter(|rung| rung.share >= EDGE_SHARE);
    rungs.fold(NEVER, |edge, rung| if edge.saturating_sub(rung.survived) <= WHEEL_CELLS || edge == NEVER { rung.survived } else { edge })
}

/// The rung that the lowest fifth of the cohort ends in.
pub(super) fn lowest_fifth(rungs: &[Rung]) -> usize {
    let mut sum = 0.0;
    let found = rungs.iter().position(|rung| {
        sum += rung.share;
        sum >= claims::SHARE
    });
    found.unwrap_or(rungs.len() - 1)
}

/// The tests that make the step, at most `count`, no device twice but where one is searched.
pub(super) fn tests(step: Step, brackets: &[Bracket], weights: &SearchWeights, count: usize) -> Vec<NextTest> {
    match step {
        Step::Search(rung) => search(rung, brackets, weights, count),
        Step::Below(cell) => below(cell, brackets, count),
        Step::Above(floor, cell) => above(floor, cell, brackets, count),
        Step::Done => Vec::new(),
    }
}

/// The device whose own bracket around the gap is narrowest, at the silences that split the weights in the gap evenly.
fn search(rung: Rung, brackets: &[Bracket], weights: &SearchWeights, count: usize) -> Vec<NextTest> {
    let holds = |bracket: &&Bracket| bracket.survived < rung.expired && bracket.expired > rung.survived;
    let width = |bracket: &&Bracket| (!bracket.has_expired(), bracket.expired - bracket.survived);
    let found = brackets.iter().filter(holds).min_by_key(width);
    let who = found.map_or(Who::Fresh, |bracket| Who::Known(bracket.device));
    let (low, high) = found.map_or((rung.survived, rung.expired), |bracket| {
        (rung.survived.max(bracket.survived), rung.expired.min(bracket.expired))
    });
    if let Some(cell) = wheel_first(low, high, brackets) {
        return vec![NextTest { who, cell: Cell::new(cell) }];
    }
    let split = |at: usize| weights.split(low, high, at as f64 / (count + 1) as f64);
    let mut cells: Vec<u16> = (1..=count).map(split).collect();
    cells.dedup();
    cells.into_iter().map(|cell| NextTest { who, cell: Cell::new(cell) }).collect()
}

/// A little below `high`, where other devices outlived about that much, so that it is the same box or a far one.
fn wheel_first(low: u16, high: u16, brackets: &[Bracket]) -> Option<u16> {
    let near = high.saturating_sub(1)..=high.saturating_add(WHEEL_CELLS);
    let is_near = high < NEVER && high - low > WHEEL_CELLS && brackets.iter().any(|one| near.contains(&one.survived));
    is_near.then(|| high - WHEEL_FIRST_CELLS)
}

/// First the devices of which it is not known, since they count against the claim; then fresh ones.
fn below(cell: u16, brackets: &[Bracket], count: usize) -> Vec<NextTest> {
    let known = unknown(brackets, cell).map(|bracket| Who::Known(bracket.device));
    let all = known.chain(std::iter::repeat(Who::Fresh)).take(count);
    all.map(|who| NextTest { who, cell: Cell::new(cell) }).collect()
}

/// Devices that outlived the floor and were not tested above; then fresh ones at the floor.
fn above(floor: u16, cell: u16, brackets: &[Bracket], count: usize) -> Vec<NextTest> {
    let open = |bracket: &&Bracket| bracket.survived >= floor && bracket.survived < cell && bracket.expired == NEVER;
    let known = brackets.iter().filter(open).map(|bracket| NextTest { who: Who::Known(bracket.device), cell: Cell::new(cell) });
    let fresh = std::iter::repeat(NextTest { who: Who::Fresh, cell: Cell::new(floor) });
    known.chain(fresh).take(count).collect()
}

/// Devices that forget before something longer, maybe before this.
fn unknown(brackets: &[Bracket], cell: u16) -> impl Iterator<Item = &Bracket> {
    brackets.iter().filter(move |one| one.survived < cell && cell < one.expired && one.has_expired())
}
