//! What a series' demand will be while the next decision holds, from what it was.
//!
//! One interval between two scrapes is the newest fact, and a noisy one: requests arrive at random, so that a rate of
//! `r` measured over `T` seconds has a standard deviation of `sqrt(r / T)` though nothing changed. Following it would
//! command noise; averaging it would be late for a surge. So what lies within three standard deviations of the mean is
//! averaged in, what lies above is believed at once, and what lies below is believed by half at first: too low a
//! forecast loses spans, too high a one only samples a little less.
//!
//! A rise has begun somewhere inside the interval that shows it, and the interval's mean is therefore lower than the
//! demand is by now: for a step at the fraction `f` before its end, by the factor `1 - f` of the step. Where clients
//! adopt at once, the forecast leads by what has been seen of the rise. Where they do not, the lead would be taken back
//! before it arrives.

/// Standard deviations from the mean beyond which an interval is news.
const NEWS: f64 = 3.0;
/// Weight of an interval without news in the mean.
const WEIGHT: f64 = 1.0 / 3.0;
/// Weight of a fall at first sight. The second interval in a row is believed.
const FALL: f64 = 0.5;
/// Lead on the first interval of a rise, in rises seen. A step begins in the middle of an interval on average, where 1
/// would be right; too little costs loss for a whole interval, and too much leaves a part of the capacity unused for one.
const ONSET: f64 = 2.0;
/// Lead while a rise goes on, in the smaller of the last two rises: a ramp goes on, and a step does not.
const CONTINUED: f64 = 0.5;

/// The memory of one series' demand.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Forecast {
    /// Requests/s without the noise.
    mean: Option<f64>,
    last: f64,
    /// By how much the last interval rose, if that was news; else 0.
    rise: f64,
    /// The last interval was news, and lower.
    is_falling: bool,
    /// Requests/s to reckon with.
    expected: f64,
}

impl Forecast {
    /// Requests/s to reckon with; 0 before the first interval.
    pub fn get(&self) -> f64 {
        self.expected
    }

    /// Takes one interval of `seconds`, in which `per_second` requests/s were counted. `leads` where clients adopt at
    /// once. The result never falls when `per_second` rises.
    pub fn observe(&mut self, per_second: f64, seconds: f64, leads: bool) {
        let Some(mean) = self.mean else {
            *self =
                Self { mean: Some(per_second), last: per_second, rise: 0.0, is_falling: false, expected: per_second };
            return;
        };
        // One request more or less is never news.
        let noise = NEWS * (mean.max(1.0 / seconds) / seconds).sqrt();
        let rise = per_second - self.last;
        if per_second > mean + noise {
            let lead = if leads { self.lead(rise) } else { 0.0 };
            *self =
                Self { mean: Some(per_second), last: per_second, rise, is_falling: false, expected: per_second + lead };
            return;
        }
        let is_falling = per_second < mean - noise;
        let weight = match is_falling {
            true if self.is_falling => 1.0,
            true => FALL,
            false => WEIGHT,
        };
        let mean = mean + weight * (per_second - mean);
        *self = Self { mean: Some(mean), last: per_second, rise: 0.0, is_falling, expected: mean };
    }

    fn lead(&self, rise: f64) -> f64 {
        let lead = if self.rise > 0.0 { CONTINUED * rise.min(self.rise) } else { ONSET * rise };
        lead.max(0.0)
    }
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
    fn noise_is_averaged_a_rise_believed_at_once_and_a_fall_by_half() {
        let calm = after(&[100.0, 105.0, 96.0, 101.0], false);
        assert!((calm - 100.0).abs() < 2.0, "{calm}");
        assert_eq!(after(&[100.0, 100.0, 1_000.0], false), 1_000.0);
        assert_eq!(after(&[100.0, 100.0, 0.0], false), 50.0);
        assert_eq!(after(&[100.0, 100.0, 0.0, 0.0], false), 0.0);
    }

    #[test]
    fn a_step_is_led_once_and_a_ramp_all_along() {
        assert_eq!(after(&[100.0, 550.0], true), 1_450.0);
        let second = after(&[100.0, 550.0, 1_000.0], true);
        assert_eq!(second, 1_225.0);
        assert_eq!(after(&[100.0, 550.0, 1_000.0, 1_000.0], true), 1_000.0);
        let ramp = after(&[100.0, 200.0, 300.0, 400.0], true);
        assert_eq!(ramp, 450.0);
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
