//! A sampling probability made ready for comparing with trace ids.
//!
//! Every service of a trace must come to the same decision where it decides at all, so the comparison is the one of
//! `Sampler::TraceIdRatioBased`, bit for bit: the low eight bytes of the trace id, big-endian, without their lowest
//! bit, against `probability * 2^63`. A trace that is sampled at one probability is sampled at every higher one.

use opentelemetry::trace::TraceId;

/// One more than the greatest number that a trace id yields.
const RANGE: u64 = 1 << 63;

/// A probability and its threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    probability: f64,
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
        Some(Self { probability, threshold: (probability * RANGE as f64) as u64 })
    }

    /// In [0, 1].
    pub(crate) fn probability(self) -> f64 {
        self.probability
    }

    /// Whether a root span of this trace is sampled.
    pub(crate) fn samples(self, trace_id: TraceId) -> bool {
        low_bytes(trace_id) >> 1 < self.threshold
    }
}

/// The bytes of a trace id that are random by W3C Trace Context, section 3.2.2.3 and level 2's random flag.
pub(crate) fn low_bytes(trace_id: TraceId) -> u64 {
    u128::from_be_bytes(trace_id.to_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};

    use super::*;

    fn rate(probability: f64) -> Rate {
        Rate::new(probability).expect("finite")
    }

    fn random_ids(count: usize) -> impl Iterator<Item = TraceId> {
        std::iter::repeat_with(|| TraceId::from(rand::random::<u128>())).take(count)
    }

    fn edge_ids() -> impl Iterator<Item = TraceId> {
        let low = [0, 1, 2, 3, RANGE - 1, RANGE, RANGE + 1, u64::MAX - 1, u64::MAX];
        low.into_iter().map(|low| TraceId::from((7_u128 << 64) | u128::from(low)))
    }

    #[test]
    fn every_trace_is_decided_as_trace_id_ratio_based_decides_it() {
        for probability in [0.0, 1e-18, 1e-6, 0.001, 0.1, 0.25, 0.5, 2.0 / 3.0, 0.999, 1.0] {
            let theirs = Sampler::TraceIdRatioBased(probability);
            for id in random_ids(2_000).chain(edge_ids()) {
                let kind = opentelemetry::trace::SpanKind::Internal;
                let is_theirs = theirs.should_sample(None, id, "", &kind, &[], &[]).decision;
                let expected = is_theirs == SamplingDecision::RecordAndSample;
                assert_eq!(rate(probability).samples(id), expected, "{id} at {probability}");
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
            let decisions: Vec<bool> = (0..=100_u32).map(|p| rate(f64::from(p) / 100.0).samples(id)).collect();
            assert!(decisions.is_sorted(), "{id}: {decisions:?}");
        }
    }

    #[test]
    fn nothing_is_sampled_at_zero_and_everything_at_one() {
        for id in random_ids(1_000).chain(edge_ids()) {
            assert_eq!((rate(0.0).samples(id), rate(1.0).samples(id)), (false, true));
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
}
