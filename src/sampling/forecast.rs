//! What a series' demand will be while the next decision holds, from what it was.
//!
//! One interval between two scrapes is the newest fact, and a noisy one: requests arrive at random, so that a rate of
//! `r` measured over `T` seconds has a standard deviation of `sqrt(r / T)` though nothing changed. Following it would
//! command noise; averaging it would be late for a surge. So what lies within three standard deviations of the mean is
//! averaged in, what lies above is believed at once, and what lies below for the most part at first: too low a forecast
//! loses spans, too high a one only samples a little less.
//!
//! A rise has begun somewhere inside the interval that shows it, and the interval's mean is therefore lower than the
//! demand is by now: for a step at the fraction `f` before its end, by the factor `1 - f` of the step. Where clients
//! adopt at once, the first interval of a rise is led by what was seen of it, and the second is not: that a step is
//! over is more likely than that a ramp goes on. Where clients do not adopt at once, the lead would be taken back before
//! it arrives.

/// Standard deviations from the mean beyond which an interval is news.
const NEWS: f64 = 3.0;
/// Weight of an interval without news in the mean.
const WEIGHT: f64 = 1.0 / 3.0;
/// Weight of a fall at first sight, which began inside the interval too. The second in a row is believed.
const FALL: f64 = 0.8;
/// Lead on the first interval of a rise, in rises seen. A step begins in the middle of an interval on average, where 1
/// would be right; too little costs loss for a whole interval, and too much leaves a part of the capacity unused for one.
const ONSET: f64 = 2.0;
/// The memory of one series' demand.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Forecast {
    /// Requests/s without the noise.
    mean: Option<f64>,
    last: f64,
    trend: Trend,
    /// Requests/s to reckon with.
    expected: f64,
}

/// What the last interval was against the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Trend {
    #[default]
    Calm,
    Rising,
    Falling,
}

impl Forecast {
    /// Requests/s to reckon with; 0 before the first interval.
    pub fn get(&self) -> f64 {
        self.expected
    }

    /// Takes one interval of `seconds`, in which `per_second` requests/s were counted. `leads` where clients adopt at
    /// once. The result never falls when `per_second` rises.
    pub fn observe(&mut self, per_second: f64, seconds: f64, leads: bool) {
        let before = *self;
        let mean = before.mean.unwrap_or(per_second);
        let noise = noise(mean, seconds);
        self.last = per_second;
        self.trend = match per_second - mean {
            above if above > noise => Trend::Rising,
            below if below < -noise => Trend::Falling,
            _ => Trend::Calm,
        };
        let weight = match (before.trend, self.trend) {
            (_, Trend::Rising) | (Trend::Falling, Trend::Falling) => 1.0,
            (_, Trend::Falling) => FALL,
            (_, Trend::Calm) => WEIGHT,
        };
        let mean = mean + weight * (per_second - mean);
        let begins = self.trend == Trend::Rising && before.trend != Trend::Rising;
        let lead = if begins && leads { ONSET * (per_second - before.last).max(0.0) } else { 0.0 };
        (self.mean, self.expected) = (Some(mean), mean + lead);
    }
}

/// Whether `per_second`, counted over `seconds`, is more than chance makes of `expected`.
pub fn is_rise(expected: f64, per_second: f64, seconds: f64) -> bool {
    per_second > expected + noise(expected, seconds)
}

/// What lies further from the mean is news. One request more or less never is.
fn noise(mean: f64, seconds: f64) -> f64 {
    NEWS * (mean.max(1.0 / seconds) / seconds).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(rates: &[f64], leads: bool) -> f64 {
        let mut forecast = Forecast::default();
        rates.iter().for_each(|rate| forecast.observe(*rate, 5.0, leads));
        forecast.get()
    }

    #[test]
    fn noise_is_averaged_a_rise_believed_at_once_and_a_fall_for_the_most_part() {
        let calm = after(&[100.0, 105.0, 96.0, 101.0], false);
        assert!((calm - 100.0).abs() < 2.0, "{calm}");
        assert_eq!(after(&[100.0, 100.0, 1_000.0], false), 1_000.0);
        assert_eq!(after(&[100.0, 100.0, 0.0], false).round(), 20.0);
        assert_eq!(after(&[100.0, 100.0, 0.0, 0.0], false), 0.0);
    }

    #[test]
    fn a_rise_is_led_once() {
        assert_eq!(after(&[100.0, 550.0], true), 1_450.0);
        assert_eq!(after(&[100.0, 550.0, 1_000.0], true), 1_000.0);
        assert_eq!(after(&[100.0, 550.0, 1_000.0, 1_000.0], true), 1_000.0);
        assert_eq!(after(&[100.0, 550.0], false), 550.0);
    }

    proptest! {
        #[test]
        fn more_demand_never_lowers_the_forecast(
            past in prop::collection::vec(0.0..1e4f64, 1..8), a in 0.0..1e5f64, b in 0.0..1e5f64, leads: bool,
        ) {
            let with = |last: f64| after(&[past.clone(), vec![last]].concat(), leads);
            prop_assert!(with(a.min(b)) <= with(a.max(b)) * (1.0 + 1e-9));
        }
    }
}
