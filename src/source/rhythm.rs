//! When the scrapes happen, told from the samples' own times, so that a poll can be placed just behind them.
//!
//! Targets are scraped at different moments within the interval, each always at the same one. A poll sees every series
//! at the age that its target's phase gives it; the best moment is the one at which the mean of these ages is smallest,
//! which is just behind one of the phases: the last of the largest cluster. Each signal has one vote, shared by its
//! series, so that the one collector that tells the loss counts for as much as a thousand instances that tell demand.
//!
//! Limits: all is folded by the shortest interval seen; signals whose intervals are no multiples of it vote at random.

use std::time::Duration;

use crate::time::MonoTime;

/// The scrapes to lock to, as one poll saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// When the newest sample at the phase to lock to was taken.
    pub newest: MonoTime,
    /// Time between two of them.
    pub interval: Duration,
    /// No poll before saw that sample.
    pub is_new: bool,
}

/// The newest sample of each series, with its weight.
#[derive(Debug, Default)]
pub(super) struct Votes {
    samples: Vec<(i64, f64)>,
    interval_ms: Option<i64>,
}

impl Votes {
    /// One signal's vote: the newest sample of each of its series, scraped every `interval`.
    pub(super) fn cast(&mut self, interval: Option<Duration>, newest_ms: impl Iterator<Item = i64>) {
        let Some(interval_ms) = interval.and_then(|i| i64::try_from(i.as_millis()).ok()).filter(|ms| *ms > 0) else {
            return;
        };
        let first = self.samples.len();
        let mut series = 0.0;
        for at_ms in newest_ms {
            series += 1.0;
            match self.samples[first..].last_mut() {
                Some((last_ms, count)) if *last_ms == at_ms => *count += 1.0,
                _ => self.samples.push((at_ms, 1.0)),
            }
        }
        self.samples[first..].iter_mut().for_each(|(_, weight)| *weight /= series);
        if series > 0.0 {
            self.interval_ms = Some(self.interval_ms.map_or(interval_ms, |ms| ms.min(interval_ms)));
        }
    }

    /// The time of the newest sample at the best phase, and the interval; `None` where nobody voted.
    pub(super) fn elect(mut self) -> Option<(i64, Duration)> {
        let interval_ms = self.interval_ms?;
        let phase = |at_ms: i64| at_ms.rem_euclid(interval_ms);
        self.samples.sort_unstable_by_key(|(at_ms, _)| (phase(*at_ms), *at_ms));
        let weight_of_all: f64 = self.samples.iter().map(|(_, weight)| weight).sum();
        let (mut age, mut best_age, mut best_ms) = (0.0, f64::INFINITY, None);
        let mut last = None;
        for (at_ms, weight) in &self.samples {
            // From one phase to the next all others grow older, and the series of this one are new again. Ages are
            // relative to the first phase's.
            let step_ms = last.map_or(0, |last| phase(*at_ms) - last);
            let is_first = last.replace(phase(*at_ms)).is_none() || phase(*at_ms) == phase(self.samples[0].0);
            age += step_ms as f64 * weight_of_all - if is_first { 0.0 } else { weight * interval_ms as f64 };
            if age <= best_age {
                (best_age, best_ms) = (age, Some(*at_ms));
            }
        }
        Some((best_ms?, Duration::from_millis(interval_ms.unsigned_abs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Option<Duration> = Some(Duration::from_secs(5));

    fn elected(signals: &[&[i64]]) -> Option<i64> {
        let mut votes = Votes::default();
        signals.iter().for_each(|newest_ms| votes.cast(FIVE, newest_ms.iter().copied()));
        votes.elect().map(|(at_ms, interval)| {
            assert_eq!(interval, Duration::from_secs(5));
            at_ms
        })
    }

    #[test]
    fn the_last_of_the_largest_cluster_is_elected() {
        let table: [(&str, &[&[i64]], Option<i64>); 8] = [
            ("nobody", &[&[]], None),
            ("one", &[&[101_700]], Some(101_700)),
            ("a cluster and a straggler", &[&[101_000, 101_200, 101_300, 103_500]], Some(101_300)),
            ("a cluster over the fold", &[&[99_900, 100_100, 97_500]], Some(100_100)),
            ("two signals, the shorter way round", &[&[101_000], &[102_000]], Some(102_000)),
            ("two signals, the shorter way round the fold", &[&[104_500], &[100_500]], Some(100_500)),
            (
                "a thousand instances at any phase and one collector",
                &[&[100_000, 101_000, 102_000, 103_000, 104_000], &[103_300], &[103_300]],
                Some(103_300),
            ),
            ("the newest round at the phase", &[&[101_000, 96_000, 91_000]], Some(101_000)),
        ];
        for (name, signals, expected) in table {
            assert_eq!(elected(signals), expected, "{name}");
        }
    }

    #[test]
    fn a_sample_that_is_not_there_yet_leaves_the_phase_and_shows_its_age() {
        assert_eq!(elected(&[&[101_300, 101_300], &[101_300]]), Some(101_300));
        assert_eq!(elected(&[&[101_000, 101_000], &[96_300]]), Some(96_300));
    }

    #[test]
    fn the_shortest_interval_folds() {
        let mut votes = Votes::default();
        votes.cast(Some(Duration::from_secs(15)), [101_000].into_iter());
        votes.cast(FIVE, [106_500].into_iter());
        votes.cast(None, [1].into_iter());
        assert_eq!(votes.elect(), Some((106_500, Duration::from_secs(5))));
    }
}
