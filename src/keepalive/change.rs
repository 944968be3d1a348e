//! A carrier changes its timeout: how few outcomes tell.
//!
//! While nothing has changed, silences up to the interval in force are outlived, and an expiry is an accident of known
//! probability. CUSUM (Page 1954): each accident scores up, each ordinary outcome scores down by one, never below zero,
//! and at the limit it was no accident. Four expiries in a row are 1.6e-7 at an error rate of 2 %, and 6.5e-6 at 5 %: so
//! the limit depends on the rate, by a table of which every row gives at most one false alarm in a million outcomes, by
//! the Markov chain of the score (`tests::chain`), not by trial. The step up is larger than what the likelihoods ask for
//! where all devices change at once, so that a box of a fifth of the cohort is seen too, where errors are rare.
//!
//! The other way round it is the same: above the lifetime a survival is the accident. A longer lifetime is invisible
//! without tests above it; a fiftieth of the devices is enough to watch.
//!
//! Limits: errors are taken as independent between devices, which is why each device's accident counts once; a carrier's
//! outage of which no control tells looks like a change. Above an error rate of 40 % nothing is said. A change that a
//! sixth of the cohort or less takes part in is not seen here, but by the devices themselves.

use flyball_sdk::device::id::DeviceId;

/// Up to each error rate: what an accident scores, and the limit.
const LIMITS: [(f64, Limit); 11] = [
    (0.005, Limit { accident: 5, alarm: 13 }),
    (0.01, Limit { accident: 5, alarm: 16 }),
    (0.02, Limit { accident: 5, alarm: 20 }),
    (0.03, Limit { accident: 4, alarm: 18 }),
    (0.05, Limit { accident: 3, alarm: 16 }),
    (0.07, Limit { accident: 3, alarm: 19 }),
    (0.1, Limit { accident: 2, alarm: 14 }),
    (0.15, Limit { accident: 2, alarm: 19 }),
    (0.2, Limit { accident: 1, alarm: 10 }),
    (0.3, Limit { accident: 1, alarm: 15 }),
    (0.4, Limit { accident: 1, alarm: 28 }),
];
/// Devices whose accidents are remembered, so that each counts once until the score is back at zero.
const ACCIDENTS_MAX: usize = 32;

/// A change that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Bindings no longer outlive the interval in force.
    Shorter,
    /// They outlive what was thought to be the longest lifetime.
    Longer,
}

/// Watches one cohort, below and above what it is thought to outlive.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    at_interval: Score,
    above: Score,
}

/// What an accident scores, and from which score on it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    accident: u32,
    alarm: u32,
}

/// A CUSUM.
#[derive(Debug, Clone, Default)]
struct Score {
    score: u32,
    /// The row of [`LIMITS`]: that of the largest error rate since the score was zero.
    row: usize,
    accidents: Vec<DeviceId>,
}

impl Watch {
    /// One outcome of a silence no longer than the interval in force, control alive. `error_rate` is the probability of
    /// an expiry while nothing has changed, as learnt.
    pub fn at_interval(&mut self, device: DeviceId, is_survival: bool, error_rate: f64) -> Option<Change> {
        self.at_interval.take(device, !is_survival, error_rate).then_some(Change::Shorter)
    }

    /// One outcome of a silence longer than the upper bound of the lifetime. `error_rate` is the probability of a
    /// survival while nothing has changed: hardly any for a box, and the share of the cohort that is behind boxes of
    /// longer lifetimes.
    pub fn above(&mut self, device: DeviceId, is_survival: bool, error_rate: f64) -> Option<Change> {
        self.above.take(device, is_survival, error_rate).then_some(Change::Longer)
    }

    /// After a change, or another interval: from the start.
    pub fn restart(&mut self) {
        *self = Self::default();
    }
}

impl Score {
    /// Whether it is at its limit now.
    fn take(&mut self, device: DeviceId, is_accident: bool, error_rate: f64) -> bool {
        let Some(row) = LIMITS.iter().position(|(rate, _)| error_rate <= *rate) else { return false };
        self.step_to(row);
        let limit = LIMITS[self.row].1;
        if !is_accident {
            self.score = self.score.saturating_sub(1);
            if self.score == 0 {
                self.accidents.clear();
            }
            return false;
        }
        if self.accidents.contains(&device) || self.accidents.len() >= ACCIDENTS_MAX {
            return false;
        }
        self.accidents.push(device);
        self.score += limit.accident;
        let is_alarm = self.score >= limit.alarm;
        if is_alarm {
            *self = Self::default();
        }
        is_alarm
    }

    /// To the row of a larger error rate, with as many accidents as it had; to a smaller one only from zero.
    fn step_to(&mut self, row: usize) {
        if self.score == 0 {
            self.row = row;
        } else if row > self.row {
            self.score = self.score * LIMITS[row].1.accident / LIMITS[self.row].1.accident;
            self.row = row;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    fn device(n: u64) -> DeviceId {
        DeviceId(u128::from(n).to_be_bytes())
    }

    /// False alarms an outcome, exactly: one over the mean time that the score takes from zero to its limit, by the
    /// linear equations `t(s) = 1 + rate t(s + accident) + (1 - rate) t(max(s - 1, 0))`.
    fn chain(rate: f64, limit: Limit) -> f64 {
        let (states, accident) = (limit.alarm as usize, limit.accident as usize);
        let mut rows = vec![vec![0.0; states + 1]; states];
        for (state, row) in rows.iter_mut().enumerate() {
            row[state] += 1.0;
            row[state.saturating_sub(1)] -= 1.0 - rate;
            if state + accident < states {
                row[state + accident] -= rate;
            }
            row[states] = 1.0;
        }
        for pivot in 0..states {
            let best = (pivot..states).max_by(|a, b| rows[*a][pivot].abs().total_cmp(&rows[*b][pivot].abs()));
            rows.swap(pivot, best.expect("rows are left"));
            let from = rows[pivot].clone();
            for row in &mut rows[pivot + 1..] {
                let factor = row[pivot] / from[pivot];
                row.iter_mut().zip(&from).skip(pivot).for_each(|(cell, from)| *cell -= factor * from);
            }
        }
        let mut times = vec![0.0; states];
        for state in (0..states).rev() {
            let known: f64 = (state + 1..states).map(|later| rows[state][later] * times[later]).sum();
            times[state] = (rows[state][states] - known) / rows[state][state];
        }
        1.0 / times[0]
    }

    #[test]
    fn no_limit_alarms_falsely_more_than_once_in_a_million_outcomes() {
        for (rate, limit) in LIMITS {
            let false_alarms = chain(rate, limit);
            assert!(false_alarms <= 1e-6, "{rate}: {false_alarms:.2e}");
        }
    }

    #[test]
    fn the_chain_tells_what_chance_does() {
        // At ten times the rate that the limit is for, false alarms are frequent enough to count.
        let (limit, rate) = (LIMITS[0].1, 0.05);
        let mut random = Pcg64::seed_from_u64(1);
        let (mut watch, mut alarms) = (Watch::default(), 0.0);
        let outcomes = 400_000_u64;
        for n in 0..outcomes {
            let is_survival = random.random::<f64>() >= rate;
            alarms += f64::from(watch.at_interval(device(n), is_survival, 0.004).is_some());
        }
        let (seen, expected) = (alarms / outcomes as f64, chain(rate, limit));
        assert!((seen / expected - 1.0).abs() < 0.1, "{seen:.2e} {expected:.2e}");
    }

    #[test]
    fn a_halved_timeout_is_seen_after_four_expiries_at_two_percent() {
        for (rate, expected) in [(0.000_5, 3), (0.005, 3), (0.01, 4), (0.02, 4), (0.03, 5), (0.05, 6), (0.1, 7)] {
            let mut watch = Watch::default();
            (0..50).for_each(|n| assert_eq!(watch.at_interval(device(n), true, rate), None));
            let seen = (1..=20).find(|n| watch.at_interval(device(*n), false, rate).is_some());
            assert_eq!(seen, Some(expected), "{rate}");
        }
    }

    #[test]
    fn a_devices_expiries_count_once() {
        let mut watch = Watch::default();
        assert!((0..100).all(|_| watch.at_interval(device(1), false, 0.02).is_none()));
    }

    #[test]
    fn what_is_as_likely_as_not_tells_nothing() {
        let mut watch = Watch::default();
        assert!((0..1_000).all(|n| watch.at_interval(device(n), false, 0.5).is_none()));
        assert!((0..1_000).all(|n| watch.above(device(n), true, f64::NAN).is_none()));
    }

    #[test]
    fn a_doubled_timeout_is_seen_after_three_survivals_above() {
        let mut watch = Watch::default();
        (0..100).for_each(|n| assert_eq!(watch.above(device(n), false, 0.001), None));
        let seen = (1..=20).find(|n| watch.above(device(*n), true, 0.001) == Some(Change::Longer));
        assert_eq!(seen, Some(3));
    }

    #[test]
    fn a_box_of_a_third_that_halves_is_seen_within_forty_outcomes() {
        let mut random = Pcg64::seed_from_u64(2);
        let mut delays: Vec<u64> = (0..400)
            .map(|_| {
                let mut watch = Watch::default();
                let is_seen = |n: &u64| watch.at_interval(device(*n), random.random::<f64>() >= 0.33, 0.005).is_some();
                (1..).find(is_seen).expect("seen at last")
            })
            .collect();
        delays.sort_unstable();
        assert!(delays[200] <= 12 && delays[396] <= 45, "{} {}", delays[200], delays[396]);
    }

    #[test]
    fn a_larger_error_rate_keeps_the_count_of_accidents() {
        let mut watch = Watch::default();
        (0..2).for_each(|n| assert_eq!(watch.at_interval(device(n), false, 0.001), None));
        let seen = (2..20).find(|n| watch.at_interval(device(*n), false, 0.05).is_some());
        assert_eq!(seen, Some(5), "six in all");
    }
}
