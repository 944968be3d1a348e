//! The best guess at how a cohort's lifetimes are spread, from brackets: the nonparametric maximum likelihood for
//! interval-censored data (Turnbull 1976, which is isotonic regression where each device was tested once). All mass lies
//! in rungs, the innermost gaps between a silence that some device outlived and the next that some device did not.

use super::evidence::{Bracket, NEVER};

/// Rungs told apart; beyond, the narrowest gaps between rungs are closed.
const RUNGS_MAX: usize = 24;
/// Rounds of the self-consistency iteration; each takes about a microsecond.
const ROUNDS: usize = 24;

/// A gap that lifetimes lie in: longer than `survived`, at most `expired`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rung {
    pub(super) survived: u16,
    pub(super) expired: u16,
    pub(super) share: f64,
}

/// A bracket as a range of rungs, and how many devices have it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    first: usize,
    last: usize,
    false_probability: f64,
    count: f64,
}

/// The rungs, shortest lifetimes first; their shares sum to 1. One wide rung where nothing is known.
pub(super) fn rungs(brackets: &[Bracket]) -> Vec<Rung> {
    let mut rungs = innermost(brackets);
    let ranges = ranges(brackets, &rungs);
    let share = 1.0 / rungs.len() as f64;
    let mut shares = vec![share; rungs.len()];
    for _ in 0..if rungs.len() > 1 && !ranges.is_empty() { ROUNDS } else { 0 } {
        shares = consistent(&shares, &ranges);
    }
    for (rung, share) in rungs.iter_mut().zip(shares) {
        rung.share = share;
    }
    rungs
}

fn innermost(brackets: &[Bracket]) -> Vec<Rung> {
    let mut survived: Vec<u16> = brackets.iter().map(|bracket| bracket.survived).collect();
    survived.push(0);
    survived.sort_unstable();
    survived.dedup();
    let mut expired: Vec<u16> = brackets.iter().map(|bracket| bracket.expired).collect();
    expired.push(NEVER);
    expired.sort_unstable();
    expired.dedup();
    let mut rungs: Vec<Rung> = Vec::new();
    for (at, from) in survived.iter().enumerate() {
        let next = expired[expired.partition_point(|cell| cell <= from)];
        // A longer survival before that expiry makes a gap further in.
        if survived.get(at + 1).is_none_or(|further| *further >= next) {
            rungs.push(Rung { survived: *from, expired: next, share: 0.0 });
        }
    }
    while rungs.len() > RUNGS_MAX {
        let gap = |at: &usize| rungs[at + 1].survived.saturating_sub(rungs[*at].expired);
        let at = (0..rungs.len() - 1).min_by_key(gap).expect("more than one rung");
        rungs[at].expired = rungs[at + 1].expired;
        rungs.remove(at + 1);
    }
    rungs
}

fn ranges(brackets: &[Bracket], rungs: &[Rung]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for bracket in brackets {
        let first = rungs.partition_point(|rung| rung.expired <= bracket.survived).min(rungs.len() - 1);
        let last = rungs.partition_point(|rung| rung.survived < bracket.expired).saturating_sub(1).max(first);
        if first == 0 && last == rungs.len() - 1 {
            continue;
        }
        let false_probability = if bracket.has_expired() { f64::from(bracket.false_probability) } else { 0.0 };
        let is_same =
            |range: &&mut Range| (range.first, range.last, range.false_probability) == (first, last, false_probability);
        match ranges.iter_mut().find(is_same) {
            Some(range) => range.count += 1.0,
            None => ranges.push(Range { first, last, false_probability, count: 1.0 }),
        }
    }
    ranges
}

/// Each device's mass where it can be, in proportion to what is there.
fn consistent(shares: &[f64], ranges: &[Range]) -> Vec<f64> {
    let mut sums = vec![0.0; shares.len() + 1];
    for (at, share) in shares.iter().enumerate() {
        sums[at + 1] = sums[at] + share;
    }
    // Weights as differences, so that a range costs the same however many rungs it spans.
    let mut weights = vec![0.0; shares.len() + 1];
    let mut devices = 0.0;
    for range in ranges {
        let inside = sums[range.last + 1] - sums[range.first];
        let above = (sums[shares.len()] - sums[range.last + 1]).max(0.0);
        let total = (inside + range.false_probability * above).max(1e-12);
        let weight = range.count / total;
        weights[range.first] += weight;
        weights[range.last + 1] -= weight * (1.0 - range.false_probability);
        weights[shares.len()] -= weight * range.false_probability;
        devices += range.count;
    }
    let mut weight = 0.0;
    let next = shares.iter().zip(&weights).map(|(share, step)| {
        weight += step;
        share * weight.max(0.0) / devices
    });
    next.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flyball_sdk::device::id::DeviceId;

    fn bracket(survived: u16, expired: u16) -> Bracket {
        Bracket { device: DeviceId([0; 16]), survived, expired, false_probability: 0.0 }
    }

    fn shares(brackets: &[Bracket]) -> Vec<(u16, u16, i32)> {
        rungs(brackets).iter().map(|rung| (rung.survived, rung.expired, (rung.share * 100.0).round() as i32)).collect()
    }

    #[test]
    fn mass_lies_in_the_innermost_gaps() {
        assert_eq!(shares(&[]), [(0, NEVER, 100)]);
        assert_eq!(shares(&[bracket(0, 900)]), [(0, 900, 100)]);
        assert_eq!(shares(&[bracket(800, 900), bracket(850, NEVER)]), [(850, 900, 100)]);
        assert_eq!(
            shares(&[bracket(800, 803), bracket(900, 903), bracket(880, NEVER)]),
            [(800, 803, 33), (900, 903, 67)]
        );
    }

    #[test]
    fn a_device_that_may_be_in_two_boxes_is_shared_out_as_the_others_are() {
        let mut brackets = vec![bracket(800, 803); 3];
        brackets.push(bracket(900, 903));
        brackets.extend([bracket(0, 903); 4]);
        assert_eq!(shares(&brackets), [(800, 803, 75), (900, 903, 25)]);
    }

    #[test]
    fn an_expiry_that_is_likely_false_moves_little() {
        let mut brackets = vec![bracket(900, 903); 9];
        brackets.push(Bracket { false_probability: 0.5, ..bracket(0, 850) });
        let low = rungs(&brackets)[0];
        assert!(low.expired == 850 && low.share < 0.06, "{low:?}");
    }
}
