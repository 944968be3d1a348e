//! The age of rates that the server computed.
//!
//! `time() - max(timestamp(x))` is the age only while there are series. When a target goes down Prometheus ends its
//! series at once, and the expression turns from seconds to nothing, while `rate(x[W])` goes on answering from what is
//! left in its window. Nothing, beside rates, therefore means old, and the age goes on from where it was.

use std::time::Duration;

use crate::source::timeline::Timeline;

/// When the newest sample was taken, as far as a freshness query has told.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    newest_ms: Option<i64>,
}

impl Freshness {
    /// The age now: as `answered`, else as remembered, else the whole `window` that the rates look back.
    pub(super) fn age(&mut self, answered: Option<Duration>, window: Duration, timeline: &Timeline) -> Duration {
        if let Some(age) = answered {
            let ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            self.newest_ms = Some(timeline.source_now_ms.saturating_sub(ms));
        }
        self.newest_ms.map_or(window, |newest_ms| timeline.age(newest_ms))
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
}
