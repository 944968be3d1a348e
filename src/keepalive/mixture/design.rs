//! Which test comes next: search one device's box, see that others do not forget before it, and that enough forget by
//! its end; chase what does otherwise.

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::Cell;

use super::claims;
use super::distribution::Rung;
use super::evidence::{Bracket, NEVER, WHEEL_CELLS};
use super::{Bounds, NextTest, SearchWeights, Who};

/// A gap of this many cells (2.5 %) is narrow enough to be confirmed by others.
const NARROW_CELLS: u16 = 3;
/// Cells below what one device outlived, and above what it did not, that others are tested at: devices of one box differ
/// by their timers' rounding.
const MARGIN_CELLS: (u16, u16) = (1, 1);
/// Tests of survival below the gap before the first above it: few, since a wrong gap shows in them first.
const BELOW_FIRST: usize = 3;
/// A box below the one in question is found out about if it may have this share.
const SMALL_SHARE: f64 = 0.05;
/// Devices that speak of the box in question: what would take more is a share too near a fifth, and given up.
const ENOUGH: usize = 150;
/// Devices that say how near a fifth the share is, before anything is given up.
const TOLD: usize = 30;
/// Devices tested above the box in question until a longer lifetime is shown as a bound, where it cannot be one.
const REST_MAX: usize = 60;
/// What a bound takes, in nats: the odds that are asked for, less what chance gives for nothing in half of all cohorts.
const NATS: f64 = 8.0;
/// A box of this share can be shown by itself.
const HEAVY_SHARE: f64 = 0.35;
/// Shares from this on, close below, are the edge of the same box.
const EDGE_SHARE: f64 = 0.02;
/// How far below an expiry, in cells (7 %), a device is tested first, where others outlived as much: it may be its
/// timer's wheel.
const WHEEL_FIRST_CELLS: u16 = 14;

/// Devices that outlived a box's end and are probed further up: one may be of another box while others are not.
const PROBED: usize = 3;
/// Devices that search at the same time where nothing is known yet.
const FRESH_MAX: usize = 7;

/// What is to be shown next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Narrow this gap.
    Search(Rung),
    /// Show that less than a fifth forgets before this cell.
    Below(u16),
    /// Show that a fifth forgets by the second of those that outlive the first.
    Above(u16, u16),
    /// Show that those which outlive the first forget by `cell`, once it is seen that they outlive `floor`.
    Rest { outlived: u16, floor: u16, cell: u16 },
    /// See whether a device that outlived the box's end is of another box, or of the same one's edge.
    Probe { device: DeviceId, cell: u16 },
    /// Nothing.
    Done,
}

/// The step that the evidence asks for. A lower bound of `enough` is not made longer.
pub(super) fn step(brackets: &[Bracket], rungs: &[Rung], bounds: Bounds, enough: u16) -> Step {
    let at = lowest_fifth(rungs);
    let rung = rungs[at];
    if is_wide(&&rung) {
        return Step::Search(rung);
    }
    let edge = edge(&rungs[..=at]).saturating_sub(MARGIN_CELLS.0).max(1);
    let below = edge.min(enough).max(1);
    let above = rung.expired.saturating_add(MARGIN_CELLS.1).min(NEVER - 2 * WHEEL_CELLS);
    let count = |is: &dyn Fn(&Bracket) -> bool| brackets.iter().filter(|one| is(one)).count();
    let outlived = count(&|one| one.survived >= below);
    let not_outlived = count(&|one| one.survived < below && one.expired <= below);
    // Who outlived what is enough, and was asked no further, is not one of those that outlive the box.
    let is_asked = |one: &Bracket| one.survived >= below && (one.survived > edge || one.has_expired());
    let at_risk = count(&is_asked);
    let not_above = count(&|one| is_asked(one) && one.expired <= above);
    let is_below_done = bounds.lower >= below || is_futile(not_outlived, not_outlived + outlived, -1.0);
    let is_above_futile = is_futile(not_above, at_risk, 1.0);
    let is_above_done = bounds.upper <= above || is_above_futile;
    let is_rest = is_above_futile
        && bounds.upper == NEVER
        && count(&|one| one.survived >= above && claims::is_at_risk(one, above)) < REST_MAX;
    if is_below_done && is_above_done && !is_rest {
        return Step::Done;
    }
    if let Some(device) = to_probe(brackets, above) {
        return Step::Probe { device, cell: above + WHEEL_CELLS };
    }
    let mut others = rungs[..at].iter().filter(|rung| rung.share >= SMALL_SHARE);
    let may_be_edge = |rung: &&Rung| rung.share >= EDGE_SHARE && rung.expired.abs_diff(below) <= NARROW_CELLS;
    if let Some(wide) = others.clone().chain(rungs[..at].iter().filter(may_be_edge)).find(is_wide) {
        return Step::Search(*wide);
    }
    let guard = others.next().map(|rung| rung.survived.saturating_sub(MARGIN_CELLS.0).max(1));
    if let Some(guard) = guard.filter(|guard| bounds.lower < *guard && unknown(brackets, *guard).next().is_some()) {
        return Step::Below(guard);
    }
    if let Some(step) = rest(&rungs[at + 1..], above).filter(|_| is_rest && is_below_done) {
        return step;
    }
    if is_below_done && is_above_done {
        return Step::Done;
    }
    let is_above_next = !is_above_done && (is_below_done || outlived > BELOW_FIRST);
    if is_above_next { Step::Above(below, above) } else { Step::Below(below) }
}

/// Whether `hits` of `all` are so near a fifth that it would take too many devices to show that they are more
/// (`side` = 1) or less (-1), even where chance was a little against it.
fn is_futile(hits: usize, all: usize, side: f64) -> bool {
    let share = (hits as f64 + 0.5) / (all as f64 + 1.0);
    let likely = (share + side * 1.5 * (share * (1.0 - share) / (all as f64 + 1.0)).sqrt()).clamp(1e-3, 1.0 - 1e-3);
    let is_other_side = (likely - claims::SHARE) * side <= 0.0;
    all >= ENOUGH || all >= TOLD && (is_other_side || NATS / divergence(likely) > ENOUGH as f64)
}

/// What a device tells on average that a part `share` of the cohort is not a fifth of it, in nats.
fn divergence(share: f64) -> f64 {
    share * (share / claims::SHARE).ln() + (1.0 - share) * ((1.0 - share) / (1.0 - claims::SHARE)).ln()
}

/// How to show a longer lifetime as a bound, by the devices that outlive the box in question: the box that most of them are
/// of, or where no box stands out, the last one, by which so many have forgotten that one must hold a fifth.
fn rest(rungs: &[Rung], outlived: u16) -> Option<Step> {
    let heaviest = rungs.iter().max_by(|a, b| a.share.total_cmp(&b.share))?;
    let last = rungs.iter().rev().find(|rung| rung.share >= EDGE_SHARE)?;
    let rung = if heaviest.share >= HEAVY_SHARE { heaviest } else { last };
    if is_wide(&rung) {
        return Some(Step::Search(*rung));
    }
    let floor = if heaviest.share >= HEAVY_SHARE { rung.survived.saturating_sub(MARGIN_CELLS.0) } else { outlived };
    Some(Step::Rest { outlived, floor: floor.max(outlived), cell: rung.expired.saturating_add(MARGIN_CELLS.1) })
}

fn is_wide(rung: &&Rung) -> bool {
    rung.expired - rung.survived > NARROW_CELLS
}

/// About how many tests the step and those after it take.
pub(super) fn tests_left(step: Step, enough: u16, brackets: &[Bracket], rungs: &[Rung], log_odds: f64) -> u32 {
    let rung = rungs[lowest_fifth(rungs)];
    let wide = if let Step::Search(rung) = step { rung } else { rung };
    if step == Step::Done {
        return 0;
    }
    let halvings = (f64::from(wide.expired - wide.survived) / f64::from(NARROW_CELLS)).log2().ceil().max(0.0);
    let below = rung.survived.saturating_sub(MARGIN_CELLS.0).min(enough).max(1);
    let survivals = (log_odds - claims::lower(brackets, below)) / -(1.0 - claims::SHARE).ln();
    // Expiries are wanted about as often as a test above the box brings one, and each tells the more, the more do.
    let share = rung.share.clamp(claims::SHARE + 0.1, 0.99);
    let (yes, no) = ((share / claims::SHARE).ln(), ((1.0 - share) / (1.0 - claims::SHARE)).ln());
    let shown = brackets.iter().filter(|one| one.survived >= below && one.expired <= rung.expired + MARGIN_CELLS.1);
    let expiries = (log_odds - shown.count() as f64 * yes) / (share * yes + (1.0 - share) * no);
    (halvings + survivals.max(0.0) + expiries.max(0.0)).min(2.0 * ENOUGH as f64).max(1.0) as u32
}

/// Where the box of the last rung begins: where its devices differ, with their rungs below.
fn edge(rungs: &[Rung]) -> u16 {
    let rungs = rungs.iter().rev().filter(|rung| rung.share >= EDGE_SHARE);
    rungs.fold(NEVER, |edge, rung| {
        if edge.saturating_sub(rung.survived) <= WHEEL_CELLS || edge == NEVER { rung.survived } else { edge }
    })
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

/// The tests that make the step, at most `count`, no device twice.
pub(super) fn tests(step: Step, brackets: &[Bracket], weights: &SearchWeights, count: usize) -> Vec<NextTest> {
    match step {
        Step::Search(rung) => search(rung, brackets, weights, count),
        Step::Below(cell) => below(cell, brackets, count),
        Step::Above(floor, cell) => above(floor, cell, brackets, count),
        Step::Rest { outlived, floor, cell } => rest_tests(outlived, floor, cell, brackets).take(count).collect(),
        Step::Probe { .. } if count == 0 => Vec::new(),
        Step::Probe { device, cell } => vec![NextTest { who: Who::Known(device), cell: Cell::new(cell) }],
        Step::Done => Vec::new(),
    }
}

/// A device that outlived `above` and was tested no further, unless enough of them were.
fn to_probe(brackets: &[Bracket], above: u16) -> Option<DeviceId> {
    let is_in = |one: &&Bracket, from: u16, to: u16| (above + from..above + to).contains(&one.survived);
    let probed = |one: &&Bracket| is_in(one, WHEEL_CELLS - NARROW_CELLS, WHEEL_CELLS + NARROW_CELLS);
    let mut open = brackets.iter().filter(|one| is_in(one, 0, WHEEL_CELLS - NARROW_CELLS) && !one.has_expired());
    open.next().filter(|_| brackets.iter().filter(probed).count() < PROBED).map(|one| one.device)
}

/// The devices whose own brackets hold the gap, narrowest first, each at another of the silences that split the weights in
/// its part of the gap; a few fresh ones where there is none.
fn search(rung: Rung, brackets: &[Bracket], weights: &SearchWeights, count: usize) -> Vec<NextTest> {
    let holds = |one: &&Bracket| one.survived < rung.expired && one.expired > rung.survived;
    let mut holders: Vec<&Bracket> = brackets.iter().filter(holds).collect();
    holders.sort_by_key(|one| (!one.has_expired(), one.expired - one.survived));
    let wheel = holders.first().and_then(|one| {
        let cell = wheel_first(rung.survived.max(one.survived), rung.expired.min(one.expired), brackets)?;
        Some(NextTest { who: Who::Known(one.device), cell: Cell::new(cell) })
    });
    if let Some(test) = wheel.filter(|_| count > 0) {
        return vec![test];
    }
    let tests = if holders.is_empty() { count.min(FRESH_MAX) } else { count.min(holders.len()) };
    let test = |at: usize| {
        let part = (at + 1) as f64 / (tests + 1) as f64;
        let one = holders.get(at);
        let low = one.map_or(rung.survived, |one| rung.survived.max(one.survived));
        let high = one.map_or(rung.expired, |one| rung.expired.min(one.expired));
        let who = one.map_or(Who::Fresh, |one| Who::Known(one.device));
        NextTest { who, cell: Cell::new(weights.split(low, high, part)) }
    };
    (0..tests).map(test).collect()
}

/// A little inside of the gap, where other devices forget at its edge: it is the same box, or a far one.
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

/// First what is not known at the floor; then devices that outlived it and were not tested above; then fresh ones, above
/// at once: those that outlive that, outlive the floor.
fn above(floor: u16, cell: u16, brackets: &[Bracket], count: usize) -> Vec<NextTest> {
    let test = |cell: u16| move |one: &Bracket| NextTest { who: Who::Known(one.device), cell: Cell::new(cell) };
    let open = |one: &&Bracket| one.survived >= floor && one.survived < cell && one.expired == NEVER;
    let known = unknown(brackets, floor).filter(|one| one.expired <= cell).map(test(floor));
    let known = known.chain(brackets.iter().filter(open).map(test(cell)));
    let fresh = std::iter::repeat(NextTest { who: Who::Fresh, cell: Cell::new(cell) });
    known.chain(fresh).take(count).collect()
}

fn rest_tests(outlived: u16, floor: u16, cell: u16, brackets: &[Bracket]) -> impl Iterator<Item = NextTest> {
    let open = move |one: &&Bracket| one.survived >= outlived && one.survived < cell && one.expired > cell;
    let known = |is_next: bool| brackets.iter().filter(open).filter(move |one| (one.survived >= floor) == is_next);
    let test = |cell: u16| move |one: &Bracket| NextTest { who: Who::Known(one.device), cell: Cell::new(cell) };
    let fresh = NextTest { who: Who::Fresh, cell: Cell::new(outlived) };
    known(true).map(test(cell)).chain(known(false).map(test(floor))).chain(std::iter::repeat(fresh))
}

/// Devices that forget before something longer, maybe before this.
fn unknown(brackets: &[Bracket], cell: u16) -> impl Iterator<Item = &Bracket> {
    brackets.iter().filter(move |one| one.survived < cell && cell < one.expired && one.has_expired())
}
