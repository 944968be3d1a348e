//! What may be said of a cohort: "less than a fifth of it forgets before this", "at least a fifth forgets by that".
//!
//! Both are looked at after every test, and the tests stop when the answer is liked, so that the claims must be sure
//! *whenever* they are looked at. The lower one is a bet against the opposite, one for each device, at odds that are fair
//! where exactly a fifth forgets: whoever bets so against the truth wins `1/alpha` in at most `alpha` of all cohorts,
//! however long it goes on (Ville's inequality). It is best where nothing forgets before the bound, which is the usual
//! case: 37 devices for 99.95 %, where a single look takes 34. The upper one is an exact binomial tail, divided by what
//! looking after each device costs ([`LOOKS`]), which takes two thirds of the devices that a bet does where a box has 40 %.
//!
//! A device of which it is not known whether it forgets before a bound counts against the claim, so that tests above the
//! bound, which would show only the survivors, cannot speak for it. Moving a bound outward never weakens the claim, so the
//! best of all bounds is as sure as each.

use super::distribution::Rung;
use super::evidence::{Bracket, NEVER, WHEEL_CELLS};

/// "The lowest lifetime that at least this part of the cohort has."
pub(super) const SHARE: f64 = 0.2;
/// Shares forgetting below the bound that are bet on, and the money on each: most cohorts have none, some a small box.
const LOWER_BETS: [(f64, f64); 4] = [(0.001, 0.6), (0.03, 0.15), (0.07, 0.15), (0.12, 0.1)];
/// How many times likelier a false claim becomes by a look after each device than by one look: 9.5 at most, exactly, for
/// up to 128 devices at 99.9 % (`tests::looks`).
const LOOKS: f64 = 10.0;
/// A share of devices below the upper bound, at whatever lifetimes, that must hold a box of [`SHARE`] unless three of
/// less come together.
const CROWD: f64 = 0.45;
/// Standard deviations by which the share below a box may be larger than guessed.
const DEVIATIONS: f64 = 1.5;
/// Devices below an upper bound are one box where they lie this close, in cells,
const BOX_CELLS: u16 = 8;
/// or one wheel's edge where none of its rungs is as far as this from the next.
const GAP_CELLS: u16 = 6;
/// Rungs of this share are more than chance.
const EDGE_SHARE: f64 = 0.02;
/// Rungs of less than this share are none.
const RUNG_SHARE: f64 = 0.01;
/// Probability with which all devices of a box outlive a silence that is past its wheel's beginning by more than the bound
/// is taken back, where it is a wheel.
const WHEEL_ERROR: f64 = 0.005;
/// Cells by which a bound may be past the edge: 1 %.
const TOLERANCE_CELLS: f64 = 2.0;
/// A device that outlived a silence by no more cells was not tested above it.
const OPEN_CELLS: u16 = 3;
/// Floors of an upper bound that are tried: those that most devices outlived.
const FLOORS_MAX: usize = 12;
/// Upper bounds that are tried, the later of neighbours where there are more.
const UPPERS_MAX: usize = 24;

/// How sure it is, as the logarithm of the odds won, that less than [`SHARE`] of the cohort forgets silences of this cell.
pub(super) fn lower(brackets: &[Bracket], cell: u16) -> f64 {
    let above = brackets.iter().filter(|bracket| bracket.survived >= cell).count() as f64;
    let mut logs = LOWER_BETS.map(|(share, money)| money.ln() + above * ((1.0 - share) / (1.0 - SHARE)).ln());
    let mut known = (f32::NAN, [0.0; 4]);
    for bracket in brackets.iter().filter(|bracket| bracket.survived < cell && bracket.has_expired()) {
        if known.0 != bracket.false_probability {
            known =
                (bracket.false_probability, LOWER_BETS.map(|(share, _)| expiry_log(share, bracket.false_probability)));
        }
        logs.iter_mut().zip(known.1).for_each(|(log, step)| *log += step);
    }
    logs.iter().map(|log| log.exp()).sum::<f64>().ln()
}

/// What a device that forgets before the bound, unless its expiry was false, does to a bet on this share.
fn expiry_log(share: f64, false_probability: f32) -> f64 {
    let seen = |share: f64| share + (1.0 - share) * f64::from(false_probability);
    (seen(share) / seen(SHARE)).ln()
}

/// The longest cell for which [`lower`] is at least `log_odds`; 0 = none.
pub(super) fn lower_bound(brackets: &[Bracket], log_odds: f64) -> u16 {
    let mut cells: Vec<u16> = brackets.iter().map(|bracket| bracket.survived).collect();
    cells.sort_unstable();
    cells.dedup();
    let claimed = cells.partition_point(|cell| *cell == 0 || lower(brackets, *cell) >= log_odds);
    if claimed == 0 { 0 } else { cells[claimed - 1] }
}

/// The bound, taken back by as much as a wheel's beginning may be below it. A device behind a wheel outlives a part of the
/// silences past the wheel's beginning, and so may all devices of a box, the fewer they are, the further past it.
pub(super) fn past_wheels(brackets: &[Bracket], rungs: &[Rung], bound: u16) -> u16 {
    let mut cells: Vec<u16> = brackets.iter().map(|bracket| bracket.survived).collect();
    cells.retain(|cell| (bound.saturating_sub(WHEEL_CELLS)..=bound).contains(cell));
    cells.sort_unstable();
    cells.dedup();
    cells.into_iter().map(|cell| cell.saturating_sub(past_wheel(brackets, rungs, cell))).max().unwrap_or(bound)
}

fn past_wheel(brackets: &[Bracket], rungs: &[Rung], cell: u16) -> u16 {
    let near = cell + WHEEL_CELLS;
    let (mut inside, mut outside, mut open, mut not_outlived) = (0.0, 0.0, 0.0, 0.0);
    for one in brackets {
        if one.survived < cell {
            not_outlived += f64::from(u8::from((cell - WHEEL_CELLS.min(cell) + 1..=cell).contains(&one.expired)));
        } else if one.expired <= near {
            inside += 1.0;
        } else if one.survived > cell + OPEN_CELLS {
            outside += 1.0;
        } else {
            open += 1.0;
        }
    }
    let share = (inside / f64::max(inside + outside, 1.0)).max(SHARE);
    // Where devices forget in a range, a fifth of the cohort may begin to before the others.
    let near = cell..=near;
    let is_edge = rungs.iter().filter(|rung| near.contains(&rung.survived) && rung.share >= EDGE_SHARE).count() > 1;
    let part = if is_edge { SHARE / share } else { 1.0 };
    let outlived = f64::max((inside + open * share) * part, 1.0);
    let is_likely = |past: &u16| {
        let gone = f64::min((f64::from(*past) + TOLERANCE_CELLS) / f64::from(WHEEL_CELLS), 1.0 - 1e-9);
        let all = outlived + not_outlived;
        let of = |part: f64, expected: f64| if part > 0.0 { part * (part / all / expected).ln() } else { 0.0 };
        of(not_outlived, gone) + of(outlived, 1.0 - gone) < -WHEEL_ERROR.ln() && not_outlived / all < 1.0
    };
    // More than a wheel's width takes no chance.
    (0..WHEEL_CELLS).find(|past| !is_likely(past)).unwrap_or(WHEEL_CELLS)
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
    // One after the other: what holds a box may, with what is below the next one, not be shown to.
    let mut tried = cells.chunks(cells.len().div_ceil(UPPERS_MAX).max(1)).filter_map(<[u16]>::last);
    tried.find(|cell| upper_claim(brackets, rungs, **cell) >= log_odds).copied().unwrap_or(NEVER)
}

fn upper_claim(brackets: &[Bracket], rungs: &[Rung], cell: u16) -> f64 {
    let claim = |floor: u16| {
        let share = if is_one_box(rungs, floor, cell) { SHARE } else { CROWD };
        let null = share / (1.0 - share_below(rungs, floor, brackets.len())).max(share);
        if null >= 0.9 { f64::NEG_INFINITY } else { upper(brackets, floor, cell, null) }
    };
    floors(brackets, cell).into_iter().map(claim).fold(f64::NEG_INFINITY, f64::max)
}

/// Whether what forgets between these may be one box, and not two smaller ones.
fn is_one_box(rungs: &[Rung], floor: u16, cell: u16) -> bool {
    let is_inside = |rung: &&Rung| rung.survived >= floor && rung.expired <= cell && rung.share >= RUNG_SHARE;
    let mut last = None;
    let has_gap = rungs.iter().filter(is_inside).any(|rung| {
        let before = last.replace(rung.expired);
        before.is_some_and(|before| rung.survived.saturating_sub(before) > GAP_CELLS)
    });
    cell - floor <= BOX_CELLS || cell - floor <= WHEEL_CELLS && !has_gap
}

/// What devices that forget by `cell` outlived, most common first.
fn floors(brackets: &[Bracket], cell: u16) -> Vec<u16> {
    let floors = brackets.iter().filter(|bracket| bracket.expired <= cell).map(|bracket| bracket.survived);
    let mut floors: Vec<u16> = floors.collect();
    floors.sort_unstable();
    let mut counted: Vec<(usize, u16)> = floors.chunk_by(u16::eq).map(|same| (same.len(), same[0])).collect();
    counted.sort_unstable_by(|a, b| b.cmp(a));
    counted.truncate(FLOORS_MAX);
    counted.into_iter().map(|(_, floor)| floor).collect()
}

/// The part of the cohort that forgets before this cell, at most as far as it is known.
fn share_below(rungs: &[Rung], cell: u16, devices: usize) -> f64 {
    let below: f64 = rungs.iter().filter(|rung| rung.expired <= cell).map(|rung| rung.share).sum();
    let below = below.clamp(0.0, 1.0);
    below + DEVIATIONS * (below * (1.0 - below) / devices.max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flyball_sdk::device::id::DeviceId;

    /// Odds for 99.95 %.
    const LOG_ODDS: f64 = 7.600_902;

    fn brackets(all: &[(usize, u16, u16)]) -> Vec<Bracket> {
        let bracket =
            |survived, expired| Bracket { device: DeviceId([0; 16]), survived, expired, false_probability: 1e-4 };
        all.iter().flat_map(|(count, survived, expired)| vec![bracket(*survived, *expired); *count]).collect()
    }

    #[test]
    fn thirty_seven_devices_that_outlive_a_silence_show_that_less_than_a_fifth_does_not() {
        assert_eq!(lower_bound(&brackets(&[(36, 900, NEVER)]), LOG_ODDS), 0);
        assert_eq!(lower_bound(&brackets(&[(37, 900, NEVER)]), LOG_ODDS), 900);
        assert_eq!(lower_bound(&brackets(&[(37, 900, NEVER), (8, 0, 880)]), LOG_ODDS), 0);
    }

    #[test]
    fn a_device_that_may_forget_before_a_bound_counts_as_one_that_does() {
        let open = brackets(&[(40, 900, NEVER), (3, 0, 950)]);
        let shown = brackets(&[(40, 900, NEVER), (3, 0, 850)]);
        assert_eq!(lower(&open, 900), lower(&shown, 900));
    }

    #[test]
    fn seven_devices_of_seven_that_forget_show_a_fifth() {
        let bound = |all: &[(usize, u16, u16)]| {
            let brackets = brackets(all);
            upper_bound(&brackets, &super::super::distribution::rungs(&brackets), LOG_ODDS)
        };
        assert_eq!(bound(&[(6, 900, 908)]), NEVER);
        assert_eq!(bound(&[(7, 900, 908)]), 908);
        assert_eq!(bound(&[(7, 900, 908), (10, 908, NEVER)]), NEVER);
        assert_eq!(bound(&[(7, 900, 908), (30, 900, NEVER)]), 908, "those were not tested above");
    }

    #[test]
    fn no_bound_is_shown_by_expiries_that_are_likely_false() {
        let mut all = brackets(&[(12, 900, 908)]);
        all.iter_mut().for_each(|one| one.false_probability = 0.9);
        assert_eq!(upper_bound(&all, &super::super::distribution::rungs(&all), LOG_ODDS), NEVER);
    }

    /// The probability that the upper claim is made at any of so many looks, where exactly `null` forgets: by the chain of
    /// the count, of which those that made the claim are taken out.
    fn looks(null: f64, devices: u32) -> f64 {
        let (mut counts, mut claimed) = (vec![1.0], 0.0);
        for all in 1..=devices {
            let mut next = vec![0.0; all as usize + 1];
            for (hits, probability) in counts.iter().enumerate() {
                next[hits] += (1.0 - null) * probability;
                next[hits + 1] += null * probability;
            }
            for (hits, probability) in next.iter_mut().enumerate() {
                if -tail_log(hits as u32, all, null) - LOOKS.ln() >= LOG_ODDS {
                    claimed += std::mem::take(probability);
                }
            }
            counts = next;
        }
        claimed
    }

    #[test]
    fn looking_after_every_device_makes_no_more_false_claims_than_are_told() {
        for null in [0.2, 0.25, 0.33, 0.45] {
            let claimed = looks(null, 128);
            assert!(claimed <= 5e-4, "{null}: {claimed:.2e}");
        }
    }

    #[test]
    fn the_tail_is_the_binomials() {
        let tail = |hits, all, p: f64| tail_log(hits, all, p).exp();
        assert!((tail(6, 6, 0.2) - 0.2_f64.powi(6)).abs() < 1e-12);
        assert!((tail(9, 10, 0.5) - 11.0 / 1_024.0).abs() < 1e-12);
        assert_eq!(tail(1, 10, 0.2), 1.0);
    }
}
