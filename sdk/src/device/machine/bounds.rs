//! The device's own bounds on what it is told: an order is authenticated, and still not trusted with the battery.

use std::time::Duration;

use crate::device::jitter::Pace;

/// No two beats are closer, whatever is told: retries included.
pub const GAP_MIN: Duration = Duration::from_millis(200);
/// The longest maximum: a day.
const MAX: Duration = Duration::from_secs(86_400);

/// The shortest and the longest time between two beats that this device accepts. The longest holds for the sum of interval
/// and jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    min: Duration,
    max: Duration,
}

/// Bounds that are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device's bounds are {GAP_MIN:?} <= min <= max <= {MAX:?}, and these are {min:?} and {max:?}")]
pub struct BadBounds {
    min: Duration,
    max: Duration,
}

impl Default for Bounds {
    /// 15 s, the shortest that RFC 8085 (section 3.5) allows, to 30 min.
    fn default() -> Self {
        Self { min: Duration::from_secs(15), max: Duration::from_secs(1_800) }
    }
}

impl Bounds {
    /// From `min` to `max`.
    ///
    /// # Errors
    /// They are not in order, or beyond what makes sense.
    pub fn new(min: Duration, max: Duration) -> Result<Self, BadBounds> {
        let is_sound = GAP_MIN <= min && min <= max && max <= MAX;
        is_sound.then_some(Self { min, max }).ok_or(BadBounds { min, max })
    }

    /// The shortest.
    pub const fn min(self) -> Duration {
        self.min
    }

    /// The longest.
    pub const fn max(self) -> Duration {
        self.max
    }

    /// The pace as this device takes it. One that is too long is shortened as a whole: cut off at the maximum, every beat
    /// of a fleet would fall on it, and the jitter would be gone.
    pub fn clamped(self, pace: Pace) -> Pace {
        let longest_interval = self.max * 256 / (256 + u32::from(pace.jitter));
        let interval = pace.interval.min(longest_interval).max(self.min);
        let room = (self.max - interval).as_nanos() * 256 / interval.as_nanos();
        Pace { interval, jitter: u8::try_from(room).unwrap_or(u8::MAX).min(pace.jitter), ..pace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clamped(interval: u64, jitter: u8) -> (f64, u8) {
        let bounds = Bounds::new(Duration::from_secs(20), Duration::from_secs(100)).expect("sound");
        let interval = Duration::from_secs(interval);
        let pace = Pace { generation: 1, interval, jitter, retry: 0, is_hostile: false };
        let taken = bounds.clamped(pace);
        assert!(taken.longest() <= bounds.max() && taken.interval >= bounds.min(), "{taken:?}");
        (taken.interval.as_secs_f64(), taken.jitter)
    }

    #[test]
    fn a_pace_within_the_bounds_is_taken_as_it_is() {
        assert_eq!(clamped(80, 64), (80.0, 64));
        assert_eq!(clamped(20, 255), (20.0, 255));
    }

    #[test]
    fn a_pace_beyond_the_bounds_keeps_its_jitter_where_there_is_room() {
        assert_eq!(clamped(90, 64), (80.0, 64));
        assert_eq!(clamped(6_000, 64), (80.0, 64));
        assert_eq!(clamped(0, 64), (20.0, 64));
        assert_eq!(clamped(6_000, 0), (100.0, 0));
    }

    #[test]
    fn one_allowed_interval_leaves_no_room_for_jitter() {
        let only = Bounds::new(Duration::from_secs(30), Duration::from_secs(30)).expect("sound");
        let pace = Pace { generation: 1, interval: Duration::from_secs(80), jitter: 64, retry: 0, is_hostile: false };
        assert_eq!((only.clamped(pace).interval, only.clamped(pace).jitter), (Duration::from_secs(30), 0));
    }

    #[test]
    fn bounds_out_of_order_are_refused() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(2));
        assert!(Bounds::new(long, short).is_err());
        assert!(Bounds::new(Duration::ZERO, long).is_err());
        assert!(Bounds::new(short, MAX * 2).is_err());
        assert_eq!(Bounds::default().min(), Duration::from_secs(15));
    }
}
