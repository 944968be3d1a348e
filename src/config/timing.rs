//! How often a source is asked, and how long one answer may take.

use std::time::Duration;

use crate::document::check::Check;
use crate::document::values::{DurationText, format_duration};

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(3);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(600);
const TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// The two durations of a loop: how often, and how long one question may take.
pub(super) struct LoopKeys<'a> {
    pub(super) interval: (&'a str, Option<DurationText>),
    pub(super) timeout: (&'a str, Option<DurationText>),
}

/// The time between two ticks.
pub(super) fn interval(key: &str, written: Option<DurationText>, check: &mut Check<'_>) -> Duration {
    check.duration(key, written, INTERVAL, INTERVAL_MIN..=INTERVAL_MAX)
}

/// Interval and timeout, the timeout not longer than the interval: a tick must not wait for the one before it.
pub(super) fn loop_times(keys: &LoopKeys<'_>, check: &mut Check<'_>) -> (Duration, Duration) {
    let interval = self::interval(keys.interval.0, keys.interval.1, check);
    let timeout = check.duration(keys.timeout.0, keys.timeout.1, TIMEOUT.min(interval), TIMEOUT_MIN..=INTERVAL_MAX);
    if timeout > interval {
        let shown = format_duration(interval);
        check.fail(keys.timeout.0, format_args!("longer than {} ({shown}); at most that", keys.interval.0));
    }
    (interval, timeout)
}
