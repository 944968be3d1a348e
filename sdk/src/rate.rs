//! A sampling probability made ready for comparing with trace ids, and for telling others.
//!
//! OpenTelemetry's consistent probability sampling (the specification's "TraceState: Probability Sampling"): the low 56
//! bits of a trace id are its randomness, a probability is the threshold below which traces are rejected, and whoever
//! is sampled carries the threshold as `ot=th:…` in its trace state. So every span tells by which probability it was
//! drawn, which the local limit changes from second to second, and counts that are adjusted by it stay true. A trace
//! that is sampled at one probability is sampled at every higher one, by every sampler that follows the specification.
//!
//! Limits: `Sampler::TraceIdRatioBased` of today's SDKs compares other bits the other way round, so it draws other
//! traces. Where a fleet mixes the two on root spans that is no matter; a downstream service must be parent-based.

use opentelemetry::trace::{TraceId, TraceState};

/// Values of the randomness: 56 bits by W3C Trace Context level 2, section 2.2.3.2.
const RANGE: u64 = 1 << 56;
/// Hexadecimal digits of the longest threshold.
const DIGITS_MAX: u32 = 14;
/// Digits of a threshold behind its leading f's, as the specification recommends: the probability is off by less than
/// one in ten thousand, and the threshold that is told is exactly the one that decided.
const DIGITS: u32 = 4;

/// A probability and its threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    probability: f64,
    /// Rejects what is below it; [`RANGE`] rejects everything.
    threshold: u64,
}

impl Rate {
    /// `None` unless `probability` is finite. What lies outside [0, 1] becomes the nearer end: a server that says 1.01
    /// means all, one that says NaN means nothing that could be guessed.
    pub(crate) fn new(probability: f64) -> Option<Self> {
        if !probability.is_finite() {
            return None;
        }
        let probability = probability.clamp(0.0, 1.0) + 0.0; // -0.0 becomes 0.0
        Some(Self { probability, threshold: threshold(probability) })
    }

    /// The probability times `factor`, in [0, 1].
    pub(crate) fn times(self, factor: f64) -> Self {
        let probability = self.probability * factor;
        Self { probability, threshold: threshold(probability) }
    }

    /// In [0, 1].
    pub(crate) fn probability(self) -> f64 {
        self.probability
    }

    /// Whether a root span of this trace is sampled.
    pub(crate) fn samples(self, trace_id: TraceId) -> bool {
        low_bytes(trace_id) % RANGE >= self.threshold
    }

    /// The trace state of a root span that is sampled at this rate.
    pub(crate) fn trace_state(self) -> TraceState {
        // By hand, because formatting costs more than all the rest of a decision.
        let mut value = *b"th:00000000000000";
        let digits =
            (0..DIGITS_MAX).map(|i| b"0123456789abcdef"[(self.threshold >> (4 * (DIGITS_MAX - 1 - i))) as usize % 16]);
        value[3..].iter_mut().zip(digits).for_each(|(place, digit)| *place = digit);
        let end = value.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1).max(4);
        let value = std::str::from_utf8(&value[..end]).expect("plain letters");
        TraceState::from_key_value([("ot", value)]).expect("a key and a value of plain letters")
    }
}

/// Probabilities below the smallest that 56 bits can tell reject everything.
fn threshold(probability: f64) -> u64 {
    let kept = (probability * RANGE as f64) as u64;
    if kept == 0 || kept >= RANGE {
        return RANGE - kept.min(RANGE);
    }
    // A power of 16 below the probability is one leading f.
    let leading = (kept.leading_zeros() - (RANGE.leading_zeros() + 1)) / 4;
    let unit = 1 << (4 * (DIGITS_MAX - (DIGITS + leading).min(DIGITS_MAX)));
    let rounded = (RANGE - kept + unit / 2) / unit * unit;
    rounded.min(RANGE - unit)
}

/// The bytes of a trace id that are random by W3C Trace Context, section 3.2.2.3 and level 2's random flag.
pub(crate) fn low_bytes(trace_id: TraceId) -> u64 {
    u128::from_be_bytes(trace_id.to_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(probability: f64) -> Rate {
        Rate::new(probability).expect("finite")
    }

    fn random_ids(count: usize) -> impl Iterator<Item = TraceId> {
        std::iter::repeat_with(|| TraceId::from(rand::random::<u128>())).take(count)
    }

    fn edge_ids() -> impl Iterator<Item = TraceId> {
        let low = [0, 1, 2, RANGE / 2 - 1, RANGE / 2, RANGE - 2, RANGE - 1, RANGE, RANGE + 1, u64::MAX - 1, u64::MAX];
        low.into_iter().map(|low| TraceId::from((7_u128 << 64) | u128::from(low)))
    }

    /// The specification's table of 1-in-N probabilities at four digits.
    #[test]
    fn thresholds_are_written_as_the_specification_writes_them() {
        let table = [
            (1.0, "0"),
            (2.0, "8"),
            (3.0, "aaab"),
            (4.0, "c"),
            (5.0, "cccd"),
            (8.0, "e"),
            (10.0, "e666"),
            (16.0, "f"),
            (100.0, "fd70a"),
            (1e3, "ffbe77"),
            (1e4, "fff9724"),
            (1e5, "ffff583a"),
            (1e6, "ffffef39"),
        ];
        for (n, expected) in table {
            let state = rate(1.0 / n).trace_state();
            assert_eq!(state.header(), format!("ot=th:{expected}"), "1 in {n}");
        }
    }

    #[test]
    fn the_threshold_told_is_the_one_that_decides() {
        for probability in [1e-12, 1e-6, 0.001, 0.0123, 0.25, 0.5, 2.0 / 3.0, 0.999, 1.0] {
            let state = rate(probability).trace_state();
            let digits = state.get("ot").and_then(|value| value.strip_prefix("th:")).expect("a threshold").to_owned();
            let told = u64::from_str_radix(&format!("{digits:0<14}"), 16).expect("hexadecimal");
            let adjusted = (RANGE - told) as f64 / RANGE as f64;
            assert!((adjusted / probability - 1.0).abs() < 2e-4, "{adjusted} for {probability}");
            for (low, is_sampled) in [(told, true), (told.wrapping_sub(1) % RANGE, told == 0)] {
                assert_eq!(rate(probability).samples(TraceId::from(u128::from(low))), is_sampled, "{probability}");
            }
        }
    }

    #[test]
    fn the_share_of_sampled_traces_is_the_probability() {
        const TRACES: usize = 100_000;
        for probability in [0.01, 0.1, 0.5, 0.9] {
            let sampled = random_ids(TRACES).filter(|id| rate(probability).samples(*id)).count() as f64;
            let expected = probability * TRACES as f64;
            let deviation = (expected * (1.0 - probability)).sqrt();
            assert!((sampled - expected).abs() < 6.0 * deviation, "{sampled} of {TRACES} at {probability}");
        }
    }

    #[test]
    fn a_sampled_trace_stays_sampled_when_the_probability_rises() {
        for id in random_ids(2_000).chain(edge_ids()) {
            let decisions: Vec<bool> = (0..=1_000_u32).map(|p| rate(f64::from(p) / 1e3).samples(id)).collect();
            assert!(decisions.is_sorted(), "{id}: {decisions:?}");
        }
    }

    #[test]
    fn nothing_is_sampled_at_zero_and_everything_at_one() {
        for id in random_ids(1_000).chain(edge_ids()) {
            assert_eq!((rate(0.0).samples(id), rate(1e-18).samples(id), rate(1.0).samples(id)), (false, false, true));
        }
    }

    #[test]
    fn values_outside_become_the_nearer_end_and_nonsense_is_refused() {
        assert_eq!((rate(-3.0), rate(1.01)), (rate(0.0), rate(1.0)));
        assert!(rate(-0.0).probability().is_sign_positive());
        for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Rate::new(nonsense), None);
        }
    }

    #[test]
    fn a_factor_only_lowers_a_rate() {
        assert_eq!((rate(0.5).times(1.0), rate(0.5).times(0.5)), (rate(0.5), rate(0.25)));
    }
}
