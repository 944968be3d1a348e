//! A source's clock against ours. Samples carry the source's time, decisions ours; a server whose clock is off by an
//! hour must neither look fresh nor stale for that.
//!
//! The source's time is tied to our monotonic clock, so that a step of our wall clock moves no age.

use std::time::Duration;

use crate::sampling::traffic::Interval;
use crate::time::{MonoTime, Tick, WallTime};

/// What is known about a source's clock. Until anything is, it is taken for ours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SourceClock {
    anchor: Option<(MonoTime, i64)>,
}

/// One moment on the source's clock and on ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline {
    /// Now, in the source's Unix milliseconds.
    pub(super) source_now_ms: i64,
    wall_now: WallTime,
}

impl SourceClock {
    /// The source's clock read `source_ms` at `at`.
    pub(super) fn tie(&mut self, at: MonoTime, source_ms: i64) {
        self.anchor = Some((at, source_ms));
    }

    /// Whether anything is known.
    pub(super) fn is_tied(&self) -> bool {
        self.anchor.is_some()
    }

    /// Whether it was never tied, or longer than `after` ago.
    pub(super) fn is_older_than(&self, after: Duration, now: MonoTime) -> bool {
        self.anchor.is_none_or(|(at, _)| now.since(at) > after)
    }

    /// Both clocks at `now`.
    pub(super) fn at(&self, now: Tick) -> Timeline {
        let source_now_ms = self.anchor.map_or(now.wall.unix_ms(), |(at, source_ms)| {
            WallTime::from_unix_ms(source_ms).plus(now.mono.since(at)).unix_ms()
        });
        Timeline { source_now_ms, wall_now: now.wall }
    }
}

impl Timeline {
    /// How long ago the source's `at_ms` is; zero if it lies ahead.
    pub(super) fn age(&self, at_ms: i64) -> Duration {
        WallTime::from_unix_ms(self.source_now_ms).since(WallTime::from_unix_ms(at_ms))
    }

    /// A stretch of the source's time on our wall clock.
    pub(super) fn interval(&self, (from_ms, to_ms): (i64, i64)) -> Interval {
        let offset_ms = self.wall_now.unix_ms().saturating_sub(self.source_now_ms);
        let ours = |ms: i64| WallTime::from_unix_ms(ms.saturating_add(offset_ms));
        Interval { from: ours(from_ms), to: ours(to_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_wrong_clock_moves_neither_ages_nor_intervals() {
        let tick = |s: u64, wall_ms| Tick {
            mono: MonoTime::from_start(Duration::from_secs(s)),
            wall: WallTime::from_unix_ms(wall_ms),
        };
        let mut clock = SourceClock::default();
        assert_eq!(clock.at(tick(1, 50_000)).source_now_ms, 50_000);
        // The server is an hour ahead.
        clock.tie(tick(1, 0).mono, 3_650_000);
        let timeline = clock.at(tick(11, 60_000));
        assert_eq!(timeline.age(3_655_000), Duration::from_secs(5));
        assert_eq!(timeline.interval((3_650_000, 3_655_000)).to, WallTime::from_unix_ms(55_000));
        // Our wall clock steps; the age stays.
        assert_eq!(clock.at(tick(11, 0)).age(3_655_000), Duration::from_secs(5));
    }
}
