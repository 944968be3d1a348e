//! Settings of the processor, and its bounds by default.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_sdk::trace::SpanProcessor;

use super::budget::Budget;
use super::counts::AdaptiveCounts;
use super::link::Link;
use super::local_traces::{Bounds, LocalTraces};
use super::processor::AdaptiveSpanProcessor;
use crate::sampler::FlyballSampler;
use crate::state::State;

/// From here on a span is slow.
const SLOW: Duration = Duration::from_secs(1);
/// Ten show every kind of failure, and are little beside what a backend takes.
const KEPT_TRACES_PER_SECOND: f64 = 10.0;
/// The local traces of 8,192 requests in flight; spans of about 32 MiB at a typical KiB each.
const BOUNDS: Bounds = Bounds { traces: 8_192, spans_per_trace: 512, spans: 32_768 };
/// Locks that the traces are spread over by their id, so that threads seldom meet.
const SHARDS_MAX: usize = 16;

/// Settings of an [`AdaptiveSpanProcessor`]; [`AdaptiveSpanProcessor::builder`] starts one.
///
/// The bounds on traces and spans hold for up to 16 parts of the traces, each with its share: what is full first is a
/// part, and with few traces that may be noticeably below the sum.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct AdaptiveSpanProcessorBuilder<P> {
    inner: P,
    sampler: Arc<State>,
    slow: Duration,
    kept_traces_per_second: f64,
    bounds: Bounds,
}

impl<P: SpanProcessor> AdaptiveSpanProcessorBuilder<P> {
    pub(super) fn new(inner: P, sampler: &FlyballSampler) -> Self {
        let sampler = Arc::clone(sampler.state());
        Self { inner, sampler, slow: SLOW, kept_traces_per_second: KEPT_TRACES_PER_SECOND, bounds: BOUNDS }
    }

    /// A span that takes at least this long is slow. Lower keeps more of what is merely slower than usual, and spends
    /// the budget on it. Set it above the longest healthy request: streams and long polls count too. Default 1 s.
    pub fn slow(mut self, at_least: Duration) -> Self {
        self.slow = at_least;
        self
    }

    /// Local traces kept a second, on average, with a burst of one second's worth. Higher shows more of an outage, and
    /// costs the backend up to `rate x spans of a local trace` spans/s for each instance of the service, on top of its
    /// budget: 10 x 20 = 200. Less while the sampler's local limit binds. 0 keeps none. Default 10.
    pub fn kept_traces_per_second(mut self, rate: f64) -> Self {
        self.kept_traces_per_second = rate;
        self
    }

    /// Local traces held at once, which are requests in flight that are not sampled; at least 1. Above it the oldest is
    /// decided early. Default 8,192.
    pub fn traces_max(mut self, traces: usize) -> Self {
        self.bounds.traces = traces.max(1);
        self
    }

    /// Spans held of one local trace, at least 2; more are let go, the roots and the cause last. Default 512.
    pub fn spans_per_trace_max(mut self, spans: usize) -> Self {
        self.bounds.spans_per_trace = spans.max(2);
        self
    }

    /// Spans held in all, at least 1. Above it the oldest local trace is decided early. Default 32,768, about 32 MiB.
    pub fn spans_max(mut self, spans: usize) -> Self {
        self.bounds.spans = spans.max(1);
        self
    }

    /// The processor. From now on the sampler records what it does not sample.
    pub fn build(self) -> AdaptiveSpanProcessor<P> {
        // Rounded down, so that the sum stays within the bounds.
        let shards = SHARDS_MAX.min(self.bounds.traces).min(self.bounds.spans);
        let (traces, spans) = (self.bounds.traces / shards, self.bounds.spans / shards);
        let bounds = Bounds { traces, spans, ..self.bounds };
        AdaptiveSpanProcessor {
            inner: self.inner,
            shards: (0..shards).map(|_| Mutex::new(LocalTraces::new(bounds, self.slow))).collect(),
            budget: Budget::per_second(self.kept_traces_per_second),
            zero: Instant::now(),
            counts: AdaptiveCounts::default(),
            link: Link::switch_on(self.sampler),
        }
    }
}
