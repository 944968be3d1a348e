//! Spans that one sampled root causes, measured: what was received over what the served probabilities should have
//! sampled. Known only from intervals in which the last command shows; else adoption would be taken for trace size.

use super::effect::Visibility;

/// Weight of one interval in the running mean, once a value is known.
const WEIGHT: f64 = 0.2;
/// The same while the last command may still be being adopted: the last tenth of that is not told from noise.
const EARLY_WEIGHT: f64 = 0.02;
/// Outside this range a measurement says that demand and received do not belong together.
const RANGE: (f64, f64) = (0.01, 10_000.0);

/// The number that joins a budget in spans to a demand in traces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpansPerTrace {
    configured: Option<f64>,
    measured: Option<f64>,
}

impl SpansPerTrace {
    /// `configured` is never measured.
    pub fn new(configured: Option<f64>) -> Self {
        Self { configured, measured: None }
    }

    /// Takes up what an earlier process measured.
    pub fn restore(&mut self, measured: Option<f64>) {
        self.measured = measured.filter(|m| (RANGE.0..=RANGE.1).contains(m));
    }

    /// The number; `None` until known.
    pub fn get(&self) -> Option<f64> {
        self.configured.or(self.measured)
    }

    /// Takes one interval: spans/s received, and root traces/s that the served probabilities should have sampled;
    /// `is_complete` says that clients have had the time to adopt them.
    pub fn learn(&mut self, visibility: Visibility, is_complete: bool, received: f64, traces_per_second: f64) {
        if !matches!(visibility, Visibility::Adopted | Visibility::Settled)
            || received <= 0.0
            || traces_per_second <= 0.0
        {
            return;
        }
        let sample = (received / traces_per_second).clamp(RANGE.0, RANGE.1);
        self.measured = Some(match (self.measured, visibility) {
            // Near the known value: noise, averaged.
            (Some(known), Visibility::Adopted) => {
                known + if is_complete { WEIGHT } else { EARLY_WEIGHT } * (sample - known)
            }
            // The load settled elsewhere: traces changed their size, or some clients do not obey. Either way this is
            // what a sampled root costs from here on.
            _ => sample,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_intervals_teach() {
        let mut spans = SpansPerTrace::new(None);
        spans.learn(Visibility::Adopting, true, 800.0, 10.0);
        assert_eq!(spans.get(), None);
        spans.learn(Visibility::Settled, true, 800.0, 100.0);
        assert_eq!(spans.get(), Some(8.0));
        spans.learn(Visibility::Adopted, true, 900.0, 100.0);
        assert_eq!(spans.get(), Some(8.2));
    }

    #[test]
    fn a_configured_value_stays() {
        let mut spans = SpansPerTrace::new(Some(5.0));
        spans.learn(Visibility::Settled, true, 800.0, 100.0);
        assert_eq!(spans.get(), Some(5.0));
    }
}
