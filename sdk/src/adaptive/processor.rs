//! The span processor: finds the shard of a span's trace, and exports what the shard lets go.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, TraceContextExt, TraceId};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::budget::{Allowance, Budget};
use super::builder::AdaptiveSpanProcessorBuilder;
use super::counts::AdaptiveCounts;
use super::link::Link;
use super::local_traces::{LocalTraces, Released};
use super::lock;
use crate::rate::low_bytes;
use crate::sampler::FlyballSampler;

/// Wraps the span processor that exports, so that failed and slow traces are exported although they are not sampled.
///
/// Sampled spans pass as they are, at once. Spans that are not sampled are held until their local trace is over, which
/// is when the span ends whose parent is absent or remote. If one of them has an error or is slow, they pass with the
/// sampled flag, within a budget of their own; else they are dropped. The local root and the span that caused it carry
/// `flyball.kept = "error" | "slow"`. Kept traces were not drawn by the probability, and carry no threshold in their
/// trace state: leave them out of counts that are adjusted for it. While the sampler's local limit binds, the budget
/// shrinks by the same factor.
///
/// While one is installed, the sampler answers `RecordOnly` in place of `Drop`. Therefore:
/// * wrap *every* exporting processor of the provider: `BatchSpanProcessor` exports what is only recorded;
/// * install the [`FlyballSampler`] itself: inside `Sampler::ParentBased` the children of a trace that is not sampled
///   are not recorded, and a kept trace would be its root alone.
///
/// The wrapped processor hears of the start of every span, but of the end of sampled and kept ones only.
pub struct AdaptiveSpanProcessor<P> {
    pub(super) inner: P,
    pub(super) shards: Box<[Mutex<LocalTraces>]>,
    pub(super) budget: Budget,
    pub(super) zero: Instant,
    pub(super) counts: AdaptiveCounts,
    pub(super) link: Link,
}

impl<P: SpanProcessor> AdaptiveSpanProcessor<P> {
    /// Wraps `inner` with the defaults. From now on `sampler` records what it does not sample.
    pub fn new(inner: P, sampler: &FlyballSampler) -> Self {
        Self::builder(inner, sampler).build()
    }

    /// As [`AdaptiveSpanProcessor::new`], with settings.
    pub fn builder(inner: P, sampler: &FlyballSampler) -> AdaptiveSpanProcessorBuilder<P> {
        AdaptiveSpanProcessorBuilder::new(inner, sampler)
    }

    /// What was kept and what was given up, to be read now and later.
    pub fn counts(&self) -> AdaptiveCounts {
        self.counts.clone()
    }

    /// Since [`AdaptiveSpanProcessor`] was built. Asked for under a shard's lock, so that a shard's time never goes back.
    fn now(&self) -> Duration {
        self.zero.elapsed()
    }

    /// While the sampler limits itself, what is kept besides is limited as much: the backend has to bear both.
    fn allowance(&self) -> Allowance<'_> {
        Allowance { budget: &self.budget, factor: self.link.limit_factor() }
    }

    fn shard(&self, trace_id: TraceId) -> MutexGuard<'_, LocalTraces> {
        let index = low_bytes(trace_id) % self.shards.len() as u64;
        lock(&self.shards[index as usize])
    }

    /// Called without a lock: the inner processor may take its time.
    fn settle(&self, released: Released) {
        self.counts.add(released.counts);
        for span in released.pass {
            self.inner.on_end(span);
        }
    }
}

impl<P: SpanProcessor> SpanProcessor for AdaptiveSpanProcessor<P> {
    fn on_start(&self, span: &mut Span, parent: &Context) {
        self.inner.on_start(span, parent);
        let context = span.span_context();
        if context.is_sampled() || has_local_parent(parent) || !self.link.is_on() {
            return;
        }
        let trace_id = context.trace_id();
        let released = {
            let mut shard = self.shard(trace_id);
            shard.root_started(trace_id, self.now(), self.allowance())
        };
        self.settle(released);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            return self.inner.on_end(span);
        }
        let released = {
            let mut shard = self.shard(span.span_context.trace_id());
            shard.span_ended(span, self.now(), self.allowance())
        };
        self.settle(released);
    }

    /// Local traces that are not over yet stay: they are not decided, so there is nothing to export of them.
    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    /// Local traces that are not over yet are dropped.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.link.switch_off();
        for shard in &self.shards {
            let released = lock(shard).clear();
            self.settle(released);
        }
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<P: fmt::Debug> fmt::Debug for AdaptiveSpanProcessor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.read();
        f.debug_struct("AdaptiveSpanProcessor").field("inner", &self.inner).field("counts", &counts).finish()
    }
}

fn has_local_parent(parent: &Context) -> bool {
    let span = parent.span();
    let context = span.span_context();
    context.is_valid() && !context.is_remote()
}
