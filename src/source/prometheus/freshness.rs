//! The age of rates that the server computed.
//!
//! `time() - max(timestamp(x))` is the age only while there are series. When a target goes down Prometheus ends its
//! series at once, and the expression turns from seconds to nothing, while `rate(x[W])` goes on answering from what is
//! left in its window. Nothing, beside rates, therefore means old, and the age goes on from where it was.
//!
//! The scrape interval is learnt from the resets of the age: with one target each reset is one interval, with many the
//! longest of the last few is the longest pause that is usual. What the polls lock to is the shortest: a poll that came a
//! moment too early sees two scrapes as one, and a lock to every second scrape would never see the others.

use std::collections::VecDeque;
use std::time::Duration;

/// The newest sample's time is computed from an age and two clocks; within this it is the same sample.
const JITTER_MS: i64 = 500;
/// A longer pause was an outage: Prometheus itself looks back no further.
const PAUSE_MAX_MS: i64 = 300_000;
/// Pauses that are remembered.
const PAUSES: usize = 8;

use crate::source::timeline::Timeline;

/// When the newest sample was taken, as far as a freshness query has told.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    newest_ms: Option<i64>,
    pauses_ms: VecDeque<i64>,
}

impl Freshness {
    /// The age now: as `answered`, else as remembered, else the whole `window` that the rates look back.
    pub(super) fn age(&mut self, answered: Option<Duration>, window: Duration, timeline: &Timeline) -> Duration {
        if let Some(age) = answered {
            let ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            self.learn(timeline.source_now_ms.saturating_sub(ms));
        }
        self.newest_ms.map_or(window, |newest_ms| timeline.age(newest_ms))
    }

    /// When the newest sample was taken; `None` before the first answer.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        self.newest_ms
    }

    /// The time between two samples; `None` until the age was reset once.
    pub(super) fn interval(&self) -> Option<Duration> {
        let longest = self.pauses_ms.iter().max()?;
        Some(Duration::from_millis(longest.unsigned_abs()))
    }

    /// The shortest of the last pauses: what to lock to.
    pub(super) fn shortest(&self) -> Option<Duration> {
        let shortest = self.pauses_ms.iter().min()?;
        Some(Duration::from_millis(shortest.unsigned_abs()))
    }

    /// What `window` before the newest sample the rates look at. They move without a new sample too, towards zero.
    pub(super) fn over_ms(&self, window: Duration) -> Option<(i64, i64)> {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        self.newest_ms.map(|newest_ms| (newest_ms.saturating_sub(window_ms), newest_ms))
    }

    fn learn(&mut self, newest_ms: i64) {
        let pause_ms = self.newest_ms.map(|last| newest_ms.saturating_sub(last));
        if pause_ms.is_some_and(|pause| pause.abs() <= JITTER_MS) {
            return;
        }
        self.newest_ms = Some(newest_ms);
        if let Some(pause) = pause_ms.filter(|pause| (0..=PAUSE_MAX_MS).contains(pause)) {
            self.pauses_ms.push_back(pause);
            self.pauses_ms.drain(..self.pauses_ms.len().saturating_sub(PAUSES));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::timeline::SourceClock;
    use crate::time::{MonoTime, Tick, WallTime};

    #[test]
    fn an_empty_answer_beside_rates_means_old() {
        let at = |s: u64| {
            let since_start = Duration::from_secs(s);
            let tick = Tick { mono: MonoTime::from_start(since_start), wall: WallTime::default().plus(since_start) };
            SourceClock::default().at(tick)
        };
        let seconds = Duration::from_secs;
        let mut freshness = Freshness::default();
        assert_eq!(freshness.age(None, seconds(60), &at(100)), seconds(60), "never told");
        assert_eq!(freshness.age(Some(seconds(3)), seconds(60), &at(110)), seconds(3));
        assert_eq!(freshness.age(None, seconds(60), &at(120)), seconds(13), "the series ended");
    }

    #[test]
    fn the_scrape_interval_is_learnt_from_the_resets_of_the_age() {
        let mut freshness = Freshness::default();
        for now in (100..=200u64).step_by(5) {
            let since_start = Duration::from_secs(now);
            let tick = Tick { mono: MonoTime::from_start(since_start), wall: WallTime::default().plus(since_start) };
            let jitter = Duration::from_millis(now % 7 * 10);
            let age = Duration::from_secs(now % 30) + jitter;
            freshness.age(Some(age), Duration::from_secs(60), &SourceClock::default().at(tick));
        }
        for interval in [freshness.interval(), freshness.shortest()].map(|interval| interval.expect("learnt")) {
            assert!(interval.abs_diff(Duration::from_secs(30)) < Duration::from_millis(200), "{interval:?}");
        }
    }
}
