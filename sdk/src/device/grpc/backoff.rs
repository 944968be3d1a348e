//! When to connect again. A fleet loses its server all at once and must not come back in step.

use std::time::Duration;

/// Upper end of the first pause, and of the longest; it doubles with each failure in between.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// A session that lived this long was healthy: its end counts as the first failure.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    /// How long to wait after a session that lived for `lived`; `unit` is random in [0, 1).
    pub(super) fn pause(&mut self, lived: Duration, unit: f64) -> Duration {
        if lived >= HEALTHY_AFTER {
            self.0 = 0;
        }
        let upper = FIRST.saturating_mul(1 << self.0.min(5)).min(LONGEST);
        self.0 = self.0.saturating_add(1);
        // Not from zero: a server that refuses at once would be asked as fast as it can refuse.
        upper.mul_f64(0.25 + 0.75 * unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_thirty_seconds_and_a_healthy_session_starts_anew() {
        let mut backoff = Backoff::default();
        let uppers: Vec<f64> =
            (0..8).map(|_| backoff.pause(Duration::ZERO, 1.0 - f64::EPSILON).as_secs_f64().round()).collect();
        assert_eq!(uppers, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(backoff.pause(HEALTHY_AFTER, 0.0), FIRST / 4);
    }
}
