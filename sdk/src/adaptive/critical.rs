//! What makes a span critical, and how a kept span looks.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanId, Status};
use opentelemetry_sdk::trace::SpanData;

/// The attribute that tells a kept span from a sampled one.
const KEPT_KEY: &str = "flyball.kept";

/// Why a local trace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Slow,
    /// Says more than slowness, and wins over it.
    Error,
}

impl Cause {
    /// What makes this span critical.
    pub(super) fn of(span: &SpanData, slow: Duration) -> Option<Self> {
        let took = span.end_time.duration_since(span.start_time).unwrap_or_default();
        match &span.status {
            Status::Error { .. } => Some(Self::Error),
            _ => (took >= slow).then_some(Self::Slow),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Slow => "slow",
        }
    }
}

/// Whether the span's parent is absent or remote.
pub(super) fn is_local_root(span: &SpanData) -> bool {
    span.parent_span_id == SpanId::INVALID || span.parent_span_is_remote
}

/// The span with the sampled flag, without which exporters leave it out; marked with the cause where one is given.
pub(super) fn as_kept(mut span: SpanData, marked: Option<Cause>) -> SpanData {
    let old = &span.span_context;
    let flags = old.trace_flags().with_sampled(true);
    let context = SpanContext::new(old.trace_id(), old.span_id(), flags, old.is_remote(), old.trace_state().clone());
    span.span_context = context;
    span.attributes.extend(marked.map(|cause| KeyValue::new(KEPT_KEY, cause.as_str())));
    span
}
