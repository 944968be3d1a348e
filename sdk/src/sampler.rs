//! The sampler that OpenTelemetry asks about every span that starts.
//!
//! A trace is decided once, where it begins: a span with a valid parent, local or remote, follows the parent's sampled
//! flag. So the sampler is parent-based by itself; wrapping it in `Sampler::ParentBased` changes no sampled trace.

use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
use tokio::sync::oneshot;

use crate::builder::FlyballSamplerBuilder;
use crate::state::{SamplerStatus, State};

/// Samples root spans at the probability that Flyball pushes for this service and operation.
///
/// Cloning is cheap, and clones share one follower; it ends when the last clone is dropped.
#[derive(Clone)]
pub struct FlyballSampler {
    state: Arc<State>,
    _follower: Arc<Follower>,
}

/// Ends the follower when dropped.
pub(crate) struct Follower {
    pub(crate) _stop: oneshot::Sender<()>,
}

impl FlyballSampler {
    /// Starts a sampler for the service of this name, the `service.name` of its resource.
    pub fn builder(service: impl Into<String>) -> FlyballSamplerBuilder {
        FlyballSamplerBuilder::new(service.into())
    }

    /// What is in force now and where it comes from.
    pub fn status(&self) -> SamplerStatus {
        self.state.status()
    }

    pub(crate) fn new(state: Arc<State>, follower: Follower) -> Self {
        Self { state, _follower: Arc::new(follower) }
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }
}

impl ShouldSample for FlyballSampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        _span_kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let parent = parent_context.map(|context| context.span());
        match parent.as_ref().map(|span| span.span_context()).filter(|parent| parent.is_valid()) {
            None => match self.state.sample_root(trace_id, name) {
                Some(rate) => result(SamplingDecision::RecordAndSample, rate.trace_state()),
                None => result(self.state.not_sampled(), TraceState::NONE),
            },
            Some(parent) if parent.is_sampled() => {
                result(SamplingDecision::RecordAndSample, parent.trace_state().clone())
            }
            Some(parent) => result(self.state.not_sampled(), parent.trace_state().clone()),
        }
    }
}

/// No attributes, as the samplers of the SDK itself.
fn result(decision: SamplingDecision, trace_state: TraceState) -> SamplingResult {
    SamplingResult { decision, attributes: Vec::new(), trace_state }
}

impl fmt::Debug for FlyballSampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FlyballSampler").field(&self.status()).finish()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    use super::*;
    use crate::limit::LocalLimitSettings;
    use crate::rate::Rate;
    use crate::strategy::Strategy;

    fn sampler(probability: f64) -> FlyballSampler {
        let (_stop, _) = oneshot::channel();
        let initial = Rate::new(probability).expect("finite");
        FlyballSampler::new(Arc::new(State::new(initial, LocalLimitSettings::default())), Follower { _stop })
    }

    fn decide(sampler: &FlyballSampler, parent: Option<&Context>, trace_id: u128, name: &str) -> SamplingResult {
        sampler.should_sample(parent, TraceId::from(trace_id), name, &SpanKind::Server, &[], &[])
    }

    fn parent(flags: TraceFlags, is_remote: bool) -> Context {
        let state = TraceState::from_key_value([("vendor", "value")]).expect("valid");
        let parent = SpanContext::new(TraceId::from(9), SpanId::from(9), flags, is_remote, state);
        Context::new().with_remote_span_context(parent)
    }

    #[test]
    fn a_span_with_a_parent_follows_the_parent_whatever_the_probability() {
        for probability in [0.0, 0.5, 1.0] {
            for is_remote in [false, true] {
                let sampled = decide(&sampler(probability), Some(&parent(TraceFlags::SAMPLED, is_remote)), 9, "x");
                let dropped = decide(&sampler(probability), Some(&parent(TraceFlags::default(), is_remote)), 9, "x");
                assert_eq!(sampled.decision, SamplingDecision::RecordAndSample);
                assert_eq!(dropped.decision, SamplingDecision::Drop);
                assert_eq!([sampled, dropped].map(|r| r.trace_state.header()), ["vendor=value", "vendor=value"]);
            }
        }
    }

    #[test]
    fn a_parent_that_is_not_valid_is_none() {
        let invalid = SpanContext::new(TraceId::from(9), SpanId::INVALID, TraceFlags::SAMPLED, true, TraceState::NONE);
        for context in [Context::new(), Context::new().with_remote_span_context(invalid)] {
            assert_eq!(decide(&sampler(0.0), Some(&context), 9, "x").decision, SamplingDecision::Drop);
            assert_eq!(decide(&sampler(1.0), Some(&context), 9, "x").decision, SamplingDecision::RecordAndSample);
        }
    }

    #[test]
    fn a_root_span_is_decided_by_its_name_at_start() {
        let sampler = sampler(0.0);
        let listed = [("GET /".to_owned(), 1.0)];
        sampler.state().adopt(Strategy::new(7, 0.0, listed).expect("valid")).expect("newer");
        let decisions = ["GET /", "GET"].map(|name| decide(&sampler, None, u128::MAX, name).decision);
        assert_eq!(decisions, [SamplingDecision::RecordAndSample, SamplingDecision::Drop]);
        assert_eq!(sampler.state().take_usage().0, ["GET /"]);
    }

    #[test]
    fn a_sampled_root_tells_the_threshold_that_it_was_drawn_by_and_nobody_else_does() {
        let sampler = sampler(0.25);
        let states = [u128::MAX, 0].map(|id| decide(&sampler, None, id, "x").trace_state.header());
        assert_eq!(states, ["ot=th:c", ""]);
        sampler.state().add_recorder();
        let recorded = decide(&sampler, None, 0, "x");
        assert_eq!((recorded.decision, recorded.trace_state.header()), (SamplingDecision::RecordOnly, String::new()));
    }

    #[test]
    fn what_is_not_sampled_is_recorded_only_while_a_processor_wants_it() {
        let sampler = sampler(0.0);
        let decide_both = || {
            let child = decide(&sampler, Some(&parent(TraceFlags::default(), true)), 9, "x");
            [decide(&sampler, None, 9, "x").decision, child.decision]
        };
        sampler.state().add_recorder();
        assert_eq!(decide_both(), [SamplingDecision::RecordOnly, SamplingDecision::RecordOnly]);
        sampler.state().remove_recorder();
        assert_eq!(decide_both(), [SamplingDecision::Drop, SamplingDecision::Drop]);
    }

    #[test]
    fn an_older_generation_changes_nothing() {
        let sampler = sampler(0.5);
        let offer = |generation, probability| Strategy::new(generation, probability, []).expect("valid");
        assert!(sampler.state().adopt(offer(9, 0.25)).is_ok());
        assert!(sampler.state().adopt(offer(8, 1.0)).is_err());
        assert_eq!((sampler.status().generation, sampler.status().probability), (9, 0.25));
    }
}
