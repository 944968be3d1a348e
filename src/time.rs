//! Two clocks, two types. Monotonic time measures how long; wall time says when, and may jump. They never meet
//! without a named conversion, and the pure rooms receive both as one [`Tick`] instead of asking a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Time since an arbitrary start that is common to one process. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime(Duration);

impl MonoTime {
    /// The instant `since_start` after the process's own zero.
    pub const fn from_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This instant, `by` later.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// This instant, `by` earlier; the start at the earliest.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }
}

/// Milliseconds since the Unix epoch. May jump in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(i64);

impl WallTime {
    /// From milliseconds since the Unix epoch.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// From seconds since the Unix epoch, as Prometheus writes timestamps. `None` unless finite and within ±2^53 ms.
    pub fn from_unix_seconds(seconds: f64) -> Option<Self> {
        let ms = (seconds * 1000.0).round();
        (ms.is_finite() && ms.abs() <= 9_007_199_254_740_992.0).then_some(Self(ms as i64))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This moment, `by` later.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment, `by` earlier.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// RFC 3339 in UTC with milliseconds, for people and JSON.
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map_or_else(|_| format!("{} ms", self.0), |t| format!("{t:.3}"))
    }
}

/// One moment on both clocks: what a tick of a loop is given as `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tick {
    /// For durations: ages, waits, holds.
    pub mono: MonoTime,
    /// For dates: expiries, generations, timestamps of samples.
    pub wall: WallTime,
}

/// The process's real clocks; edges own one, the pure rooms never see it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Now, on both clocks.
    pub fn now(&self) -> Tick {
        Tick { mono: self.mono(), wall: wall_now() }
    }

    /// Now, on the monotonic one.
    pub fn mono(&self) -> MonoTime {
        MonoTime(self.start.elapsed())
    }
}

fn wall_now() -> WallTime {
    let ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    WallTime(ms)
}
