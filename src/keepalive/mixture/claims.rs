//! What may be said of a cohort: "less than a fifth of it forgets before this", "at least a fifth forgets by that".
//!
//! Both are bets against the opposite, one for each device and at odds that are fair where exactly a fifth does; whoever
//! bets so against the truth wins `1/alpha` in at most `alpha` of all cohorts, *however long the tests go on and whenever
//! they are stopped* (Ville's inequality), which a search that stops when it likes the answer needs. A device of which
//! it is not known whether it forgets before the bound counts against the claim, so that tests above the bound, which
//! would show only the survivors, cannot speak for it. Moving the bound outward never weakens a claim, so the best of all
//! bounds is as sure as each.

use super::distribution::Rung;
use super::evidence::{Bracket, NEVER, WHEEL_CELLS};

/// "The lowest lifetime that at least this part of the cohort has."
pub(super) const SHARE: f64 = 0.2;
/// Shares forgetting below the bound that are bet on, and the money on each: most cohorts have none, some a small box.
const LOWER_BETS: [(f64, f64); 4] = [(0.001, 0.6), (0.03, 0.15), (0.07, 0.15), (0.12, 0.1)];
/// An upper bound is looked at after each device: how many times likelier that makes a false claim than one look would.
/// 3.9 exactly for a share of 20 %, up to 128 devices.
const LOOKS: f64 = 5.0;
/// A share of devices below the upper bound, at whatever lifetimes, that must hold a box of [`SHARE`].
const CROWD: f64 = 0.45;
/// Standard deviations by which the share below a box may be larger than guessed.
const DEVIATIONS: f64 = 1.5;
/// Devices below an upper bound are one box, or one wheel's edge, where they lie this close, in cells.
const BOX_CELLS: u16 = WHEEL_CELLS;

/// Bets against a share of `null`, and the logarithm of what each has become.
#[derive(Debug, Clone, Copy)]
struct Wealth {
    null: f64,
    shares: [f64; 4],
    logs: [f64; 4],
}

impl Wealth {
    /// All bets must be on one side of `null`; one that is on the other stays at home.
    fn new(bets: &[(f64, f64); 4], null: f64, is_valid: impl Fn(f64) -> bool) -> Self {
        let shares = bets.map(|(share, _)| if is_valid(share) { share } else { null });
        Self { null, shares, logs: bets.map(|(_, money)| money.ln()) }
    }

    /// `count` devices that are not below the bound.
    fn above(&mut self, count: usize) {
        for (log, share) in self.logs.iter_mut().zip(self.shares) {
            *log += count as f64 * ((1.0 - share) / (1.0 - self.null)).ln();
        }
    }

    /// One that is, unless its expiry was false.
    fn below(&mut self, false_probability: f64) {
        let seen = |share: f64| share + (1.0 - share) * false_probability;
        for (log, share) in self.logs.iter_mut().zip(self.shares) {
            *log += (seen(share) / seen(self.null)).ln();
        }
    }

    fn log(&self) -> f64 {
        self.logs.iter().map(|log| log.exp()).sum::<f64>().ln()
    }
}

/// How sure it is, as the logarithm of the odds won, that less than [`SHARE`] of the cohort forgets silences of this cell.
pub(super) fn lower(brackets: &[Bracket], cell: u16) -> f64 {
    let mut wealth = Wealth::new(&LOWER_BETS, SHARE, |share| share < SHARE);
    let above = brackets.iter().filter(|bracket| bracket.survived >= cell).count();
    wealth.above(above);
    for bracket in brackets.iter().filter(|bracket| bracket.survived < cell && bracket.has_expired()) {
        wealth.below(f64::from(bracket.false_probability));
    }
    wealth.log()
}

/// The longest cell for which [`lower`] is at least `log_odds`; 0 = none.
pub(super) fn lower_bound(brackets: &[Bracket], log_odds: f64) -> u16 {
    let mut cells: Vec<u16> = brackets.iter().map(|bracket| bracket.survived).collect();
    cells.sort_unstable();
    cells.dedup();
    let claimed = cells.partition_point(|cell| *cell == 0 || lower(brackets, *cell) >= log_odds);
    if claimed == 0 { 0 } else { cells[claimed - 1] }
}

/// How sure it is that more than a share `null` of the devices that outlive `floor` forget by `cell`.
fn upper(brackets: &[Bracket], floor: u16, cell: u16, null: f64) -> f64 {
    let (mut below, mut all, mut false_probability) = (0, 0, 0.0_f64);
    for bracket in brackets.iter().filter(|bracket| is_at_risk(bracket, floor)) {
        all += 1;
        if bracket.expired <= cell {
            below += 1;
            false_probability = false_probability.max(f64::from(bracket.false_probability));
        }
    }
    -tail_log(below, all, null + (1.0 - null) * false_probability) - LOOKS.ln()
}

/// The logarithm of the probability that at least `hits` of `all` are hit, each with `probability`.
fn tail_log(hits: u32, all: u32, probability: f64) -> f64 {
    if f64::from(hits) <= f64::from(all) * probability {
        return 0.0;
    }
    let odds = probability / (1.0 - probability);
    let mut term = 1.0;
    let mut sum = 0.0;
    for hit in hits..=all {
        sum += term;
        term *= f64::from(all - hit) / f64::from(hit + 1) * odds;
    }
    let first: f64 = (0..hits).map(|hit| (f64::from(all - hit) / f64::from(hits - hit)).ln()).sum();
    first + f64::from(hits) * probability.ln() + f64::from(all - hits) * (1.0 - probability).ln() + sum.ln()
}

/// Outlived `floor`, and was tested above it.
pub(super) const fn is_at_risk(bracket: &Bracket, floor: u16) -> bool {
    bracket.survived >= floor && (bracket.survived > floor || bracket.has_expired())
}

/// The shortest cell of which it is as sure as `log_odds` that a box of at least [`SHARE`] of the cohort forgets by it, or
/// devices enough that there must be one; [`NEVER`] = none. The best over the floors that the box may start at.
pub(super) fn upper_bound(brackets: &[Bracket], rungs: &[Rung], log_odds: f64) -> u16 {
    let mut cells: Vec<u16> = brackets.iter().filter(|b| b.has_expired()).map(|bracket| bracket.expired).collect();
    cells.sort_unstable();
    cells.dedup();
    let claimed = cells.partition_point(|cell| upper_claim(brackets, rungs, *cell) < log_odds);
    cells.get(claimed).copied().unwrap_or(NEVER)
}

fn upper_claim(brackets: &[Bracket], rungs: &[Rung], cell: u16) -> f64 {
    let floors = brackets.iter().filter(|bracket| bracket.expired <= cell).map(|bracket| bracket.survived);
    let mut floors: Vec<u16> = floors.collect();
    floors.sort_unstable();
    floors.dedup();
    let claim = |floor: u16| {
        let share = if cell - floor <= BOX_CELLS { SHARE } else { CROWD };
        let null = share / (1.0 - share_below(rungs, floor, brackets.len())).max(share);
        if null >= 0.9 { f64::NEG_INFINITY } else { upper(brackets, floor, cell, null) }
    };
    floors.into_iter().map(claim).fold(f64::NEG_INFINITY, f64::max)
}

/// The part of the cohort that forgets before this cell, at most as far as it is known.
fn share_below(rungs: &[Rung], cell: u16, devices: usize) -> f64 {
    let below: f64 = rungs.iter().filter(|rung| rung.expired <= cell).map(|rung| rung.share).sum();
    let below = below.clamp(0.0, 1.0);
    below + DEVIATIONS * (below * (1.0 - below) / devices.max(1) as f64).sqrt()
}
