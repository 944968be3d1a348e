//! From a lifetime to a pace: `interval = max(floor, base + jitter)`, `base = safety x` the lifetime's lower bound.
//!
//! A device draws up to `jitter` of the base on top of it, so the longest wait is `base x (1 + jitter)`: with 0.75 and
//! 0.25 it is 0.94 of the bound, and what is left is for a beat that is late. Everything is in the wire's unit of 100 ms,
//! rounded so that what is told is never longer than what was decided, and never under the floor.

use std::time::Duration;

use flyball_sdk::device::jitter::Pace;

use super::policy::IntervalBounds;

/// The floor that a retry of 3 s, the prior and the lifetimes looked for belong to; others scale with their floor.
pub const FLOOR_REFERENCE: Duration = Duration::from_secs(15);
/// A rise by less than this part is not worth a change: an order out costs nothing, but a fleet that is told a new
/// number each minute can be read by nobody.
const RISE_MIN: f64 = 0.03;
/// A retry comes after this part of the floor.
const RETRIES_PER_FLOOR: u32 = 5;
const UNIT_MS: u128 = 100;
const RETRY_UNIT_MS: u128 = 20;
/// What the wire can say at most.
const UNITS_MAX: u32 = u16::MAX as u32;

/// What a lifetime's bound asks for, within the operator's bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paced {
    /// The shortest time between two beats.
    pub interval: Duration,
    /// Which bound decided.
    pub limit: Limit,
}

/// What an interval was decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The lifetime.
    Lifetime,
    /// The operator's floor.
    Floor,
    /// The operator's ceiling.
    Ceiling,
}

/// The interval for a lifetime known to be at least `lower`.
pub fn paced(bounds: &IntervalBounds, lower: Duration) -> Paced {
    let (floor, ceiling) = (floor(bounds), ceiling(bounds));
    let base = whole_units(lower.mul_f64(bounds.safety.clamp(0.0, 1.0)));
    if base < floor {
        Paced { interval: floor, limit: Limit::Floor }
    } else if base > ceiling {
        Paced { interval: ceiling, limit: Limit::Ceiling }
    } else {
        Paced { interval: base, limit: Limit::Lifetime }
    }
}

/// A pace for this interval, as the wire carries it.
pub fn pace(bounds: &IntervalBounds, interval: Duration, generation: u64) -> Pace {
    Pace { generation, interval, jitter: jitter(bounds, interval), retry: retry(bounds), is_hostile: false }
}

/// The pace of a binding known to live this long. Where the formula asks for less than the floor, the floor takes as much
/// of the jitter with it: `max(floor, base + jitter)`.
pub fn pace_for(bounds: &IntervalBounds, interval: Duration, lifetime: Duration, generation: u64) -> Pace {
    let usual = pace(bounds, interval, generation);
    let base = lifetime.mul_f64(bounds.safety.clamp(0.0, 1.0));
    let longest = base.mul_f64(1.0 + bounds.jitter.clamp(0.0, 1.0));
    let room = longest.saturating_sub(interval).as_secs_f64() / interval.as_secs_f64();
    let is_under_floor = interval <= floor(bounds) && base < interval;
    let jitter = if is_under_floor { usual.jitter.min(jitter_units(room)) } else { usual.jitter };
    Pace { jitter, ..usual }
}

/// Whether the floor cannot serve a lifetime that is at most `upper`.
pub fn is_hostile(bounds: &IntervalBounds, upper: Duration) -> bool {
    upper.mul_f64(bounds.safety.clamp(0.0, 1.0)) < bounds.min
}

/// Whether `next` is worth telling to whom `now` was told: a fall always, a rise where it is large enough.
pub fn is_worth_a_change(now: Duration, next: Duration) -> bool {
    next < now || next > now.mul_f64(1.0 + RISE_MIN)
}

/// The longest wait of a device with this interval.
pub fn longest(bounds: &IntervalBounds, interval: Duration) -> Duration {
    pace(bounds, interval, 0).longest()
}

/// The shortest lifetime that the interval of the floor is safe for.
pub fn floor_lifetime(bounds: &IntervalBounds) -> Duration {
    longest(bounds, floor(bounds))
}

/// How much longer or shorter than the reference's everything is: 1 for a floor of 15 s.
pub fn scale(bounds: &IntervalBounds) -> f64 {
    floor(bounds).as_secs_f64() / FLOOR_REFERENCE.as_secs_f64()
}

/// The shortest interval, in whole units.
pub fn floor(bounds: &IntervalBounds) -> Duration {
    units(bounds.min.as_millis().div_ceil(UNIT_MS).max(1))
}

/// The longest interval, in whole units: with its jitter it does not pass the operator's ceiling.
pub fn ceiling(bounds: &IntervalBounds) -> Duration {
    whole_units(bounds.max.div_f64(1.0 + bounds.jitter.clamp(0.0, 1.0))).max(floor(bounds))
}

/// In 256ths. Where floor and ceiling leave no room for all of it, as much as fits.
fn jitter(bounds: &IntervalBounds, interval: Duration) -> u8 {
    let room = bounds.max.saturating_sub(interval).as_secs_f64() / interval.as_secs_f64();
    jitter_units(bounds.jitter.clamp(0.0, 1.0).min(room))
}

fn jitter_units(part: f64) -> u8 {
    (part * 256.0 + 1e-6).floor().clamp(0.0, 255.0) as u8
}

/// In units of 20 ms: 3 s for a floor of 15 s.
fn retry(bounds: &IntervalBounds) -> u8 {
    let units = (floor(bounds) / RETRIES_PER_FLOOR).as_millis() / RETRY_UNIT_MS;
    u8::try_from(units).unwrap_or(u8::MAX).max(1)
}

fn whole_units(interval: Duration) -> Duration {
    units(interval.as_millis() / UNIT_MS)
}

fn units(count: u128) -> Duration {
    Duration::from_millis(UNIT_MS as u64) * u32::try_from(count).unwrap_or(UNITS_MAX).min(UNITS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_field_case_gets_its_interval() {
        let bounds = IntervalBounds::default();
        let paced = paced(&bounds, seconds(112.347));
        assert_eq!(paced, Paced { interval: seconds(84.2), limit: Limit::Lifetime });
        let pace = pace(&bounds, paced.interval, 7);
        assert_eq!((pace.jitter, pace.retry, pace.longest()), (64, 150, seconds(105.25)));
    }

    #[test]
    fn what_lives_no_longer_than_the_floor_is_beaten_for_without_jitter() {
        let bounds = IntervalBounds::default();
        let longest = |lifetime| pace_for(&bounds, seconds(15.0), seconds(lifetime), 1).longest();
        assert_eq!((longest(12.0), longest(16.0)), (seconds(15.0), seconds(15.0)));
        assert!(longest(18.0) > seconds(16.7) && longest(18.0) <= seconds(18.0 * 0.9375));
        assert_eq!(longest(20.0), seconds(18.75));
        assert_eq!(pace_for(&bounds, seconds(84.2), seconds(112.347), 7), pace(&bounds, seconds(84.2), 7));
    }

    #[test]
    fn a_laboratory_is_a_small_world_of_the_same_proportions() {
        let bounds = IntervalBounds { min: Duration::from_millis(1_200), ..IntervalBounds::default() };
        assert_eq!(paced(&bounds, seconds(9.0)).interval, Duration::from_millis(6_700));
        assert_eq!(pace(&bounds, seconds(6.7), 1).retry_wait(1), Duration::from_millis(240));
        assert!((scale(&bounds) - 0.08).abs() < 1e-12);
        assert!(is_hostile(&bounds, seconds(1.5)) && !is_hostile(&bounds, seconds(1.7)));
    }

    #[test]
    fn small_rises_are_not_worth_a_change_and_falls_are() {
        let now = seconds(80.0);
        assert!(!is_worth_a_change(now, now) && !is_worth_a_change(now, seconds(82.0)));
        assert!(is_worth_a_change(now, seconds(79.9)) && is_worth_a_change(now, seconds(83.0)));
    }

    proptest::proptest! {
        #[test]
        fn floor_and_ceiling_hold_for_any_lifetime(
            lower in 0_u64..100_000_000, min in 100_u64..600_000, more in 0_u64..20_000_000,
            safety in 0.1_f64..1.0, jitter in 0.0_f64..1.0,
        ) {
            let [min, max] = [min, min + more].map(Duration::from_millis);
            let bounds = IntervalBounds { min, max, safety, jitter };
            let lower = Duration::from_millis(lower);
            let paced = paced(&bounds, lower);
            let pace = pace(&bounds, paced.interval, 1);
            proptest::prop_assert!(pace.interval >= min);
            proptest::prop_assert!(pace.longest() <= max.max(floor(&bounds)));
            proptest::prop_assert!(paced.limit == Limit::Floor || paced.interval <= lower);
            proptest::prop_assert!(pace.retry > 0);
        }
    }
}
